"""The problems that the next pocket reasoner is made for."""
