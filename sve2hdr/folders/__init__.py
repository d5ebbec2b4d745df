"""Whole folders and long runs: jobs, who does them, and what was done; on one machine or many."""
