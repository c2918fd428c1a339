"""What turns pages into a course: exercises, panels, comparisons with the video, the environment check, grading.

May import everything; no lower ring imports it. Importing this package loads nothing, because `python -m mlp_lib` must
work in an environment without torch.
"""
