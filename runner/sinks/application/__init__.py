"""Tables that the application owns: read beside its progress in one snapshot, and written in place where asked for.

================  ====================================================================================
``table``         what the server says of the table, and which column each of a read model's columns is
``expressions``   the SQL by which a value comes out of the table, and by which one goes into it
``reading``       rows and progress in one snapshot, by binary COPY into a Parquet file
``progress``      how far the application's projection has come
``writing``       rows that differ inserted, updated and deleted in one transaction
``hand_over``     the statement that tells the application where to go on, and who would fight it
================  ====================================================================================

Needs SELECT alone unless something is written. No DDL, no TRUNCATE, no lock but those of the rows that are written.
"""
