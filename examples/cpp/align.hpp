// Cuts a face out of a picture so that its landmarks lie where the embedder was taught to expect them.
#pragma once

#include <array>

#include "picture.hpp"

namespace pocketface {

struct Point {
    double x, y;  // pixels; the centre of the first pixel is (0, 0)
};

// Left eye, right eye, nose tip, left and right mouth corner, as seen in the picture.
using Landmarks = std::array<Point, 5>;

constexpr int CROP_SIZE = 112;

// The least-squares similarity transform z -> a z + b from a picture to the crop, in complex numbers.
struct Similarity {
    Point a, b;
};

// Throws std::invalid_argument when the landmarks are not finite or coincide.
Similarity estimate(const Landmarks& landmarks);

// The 112 x 112 crop; averages instead of aliasing, black where the picture ends.
Picture align(const Picture& picture, const Landmarks& landmarks);

}  // namespace pocketface
