"""Looks at a benchmark's data before a run does: what is there, what is missing, what is wrong and what is doubtful.

A dataset class takes part by one optional classmethod, described in `needs`. Every other class is asked for its
`preflight` and its samples.
"""
