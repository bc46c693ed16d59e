"""From handlers to lines of the kernel: syntax trees are typed and lowered, a module per kind of value or statement.

``lowering`` has what all share, ``calls`` walks whole functions, the others enter in its tables how a thing is lowered.
"""
