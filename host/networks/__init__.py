"""Where words meet the picture inside the host's networks: attention is found, recorded, edited and mixed here.

Knows nothing of steps, samplers or schedules.
"""
