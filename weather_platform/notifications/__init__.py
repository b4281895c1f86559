"""Notifications: sending what is in the outbox to the channels of the settings.

What belongs here: which channel gets which notice and when, the text of a message, the channels themselves, and the
sender. What does not: what is worth a notice (``domain.notices``), and where notices are stored
(``database.outbox``). No Dagster.
"""
