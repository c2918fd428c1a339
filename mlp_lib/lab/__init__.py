"""Beyond the lecture (pages 10 to 16): the compiled loop, grids of runs, count models, the ladder.

May import the lecture (`mlp_lib.*`) and never `mlp_lib.course`. Importing this package loads nothing.
"""
