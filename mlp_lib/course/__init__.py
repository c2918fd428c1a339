"""What turns pages into a course: exercises, panels, the video's figures, the environment check, grading.

May import everything; nothing below imports it. Importing this package loads nothing: `python -m mlp_lib` looks at an
environment in which torch may be missing.
"""
