"""What watching a video does to creation: effects from logs that were not randomised, who responds, and whether a ranking by response is right.

`effects.py` has the estimators of the mean effect, `nuisances.py` what they need to know, `learners.py` the effect for one pair, `qini.py` the
judgement on a randomised slice, `objective.py` the formulas in which a creator's uplift enters a score.
"""
