"""Drawing the slate, with the exact propensity of every slot."""
