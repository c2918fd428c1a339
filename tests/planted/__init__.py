"""Planted mistakes, one module per notebook: what a learner gets wrong, and what the check must say."""
