"""A two-layer network, its gradient under a mask, and expectations over all masks in closed form."""
