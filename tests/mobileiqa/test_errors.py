"""UserError: what a worker process raises must arrive whole."""

import pickle

from mobileiqa.errors import UserError


def test_it_survives_the_way_home_from_a_worker_process() -> None:
    error = UserError("an image", "a text file", "give an image")
    home = pickle.loads(pickle.dumps(error))
    assert (home.expected, home.actual, home.todo) == (error.expected, error.actual, error.todo)
    assert str(home) == str(error) == "expected an image; found a text file; give an image"
