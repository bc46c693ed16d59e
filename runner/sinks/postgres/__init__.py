"""Read models in Postgres: tables that are published from the embedded read models' files.

===============  =====================================================================================
``port``         what jobs and tables tell each other: plain data
``tables``       ``PostgresTables``: all of it behind one object
``columns``      from a shape to columns, keys, places
``names``        at most 63 bytes, also of versions
``bookkeeping``  the schema ``projection_runner``: which tables there are, and their checkpoints
``checking``     before a run: privileges, and a rehearsal of what is to be carried over
``loading``      a version's rows into a new table, in parallel, resumable
``applying``     changed and deleted rows and the checkpoint
``belongings``   all that hangs on a live table, read from the catalog as statements
``carrying``     what of it the next table gets before the switch
``matviews``     materialised views, made again beforehand
``waiting``      for older snapshots and long transactions, while nobody waits for us
``switching``    the switch
``holding``      writers kept out for a moment, readers not
``former``       tables that nobody needs any more
===============  =====================================================================================

What readers may rely on: a query finds the rows of one version, the one before the switch or the one after it, whole,
by the table's name, through views and in REPEATABLE READ, and nothing older than its snapshot (``waiting``); and
``projection_runner.read_models`` has the checkpoint of just those rows, in either order of the two. No reader waits
longer for one attempt of a switch than ``lock_timeout`` of [read_models.postgres] (0.2 s; all locks together) and the
switch itself, which is cancelled after 2 s (``SwitchTimeouts.work``). No writer of a table that a
foreign key from the read model refers to waits longer than ``lock_timeout`` for one attempt to add it (``carrying``).

What they may not: a transaction on a standby whose snapshot is older than the load is not seen from here (unless
``hot_standby_feedback`` is on) and would find the new table empty; there the rows are to be read before the checkpoint.
Rows of materialised views are those of the load. Grants come from the owner afterwards, whoever gave them before.
Triggers do not fire for loaded rows.

Nothing is imported here.
"""
