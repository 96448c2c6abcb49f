"""A network in software, sans-IO and seeded: for `tallow bench --link`, the simulations and the tests' relays."""
