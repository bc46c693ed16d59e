"""What goes live, here and in Postgres, and back: load, switch, put right in place, reconcile, roll back."""
