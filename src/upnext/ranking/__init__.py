"""How good each candidate is: every task predicted at once, combined into one value by hand-set weights.

Training (mmoe.py, ranker_learner.py, ranker_graph.py, ranker_export.py) ends in a folder of ONNX and JSON; serving
(onnx_ranker.py, value.py) reads that folder and nothing else.
"""
