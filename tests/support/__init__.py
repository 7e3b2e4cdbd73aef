"""Helpers of hamlet's own tests."""
