import mine
import numpy as np


def test_of_their_own():
    assert mine.softmax(np.zeros(4)).tolist() == [0.25] * 4
