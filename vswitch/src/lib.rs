//! The switch itself: ports, workers, the walk of a frame, and what operators see of it.
