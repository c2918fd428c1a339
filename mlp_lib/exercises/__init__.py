"""Exercises with checks that name the mistake, hints in steps, and tested solutions."""
