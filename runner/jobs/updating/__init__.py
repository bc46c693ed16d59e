"""Update: live read models brought to the log's end, and what a process keeps between two updates."""
