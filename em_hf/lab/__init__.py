"""The lab: every method and every strategy on the pocket reasoner, and a report of what came out, with intervals."""
