"""Is a read model right? Prove a sample of it by the plain twin, or verify every row by a second fold."""
