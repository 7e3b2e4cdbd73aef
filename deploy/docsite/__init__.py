"""Makes the generated pages of the documentation, and checks the site that is built of it."""
