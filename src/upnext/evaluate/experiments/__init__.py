"""Experiments on live traffic: who is in which arm, and what may be said of the arms at any moment.

`assignment.py` puts viewers or creators into arms.
"""
