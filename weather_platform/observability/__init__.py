"""What the service says about itself: metrics, logs and traces.

What belongs here: naming and counting what happens, and bringing it out. What does not: deciding anything by it, or the
prediction log, which is data. Nothing of the code location imports these modules.
"""
