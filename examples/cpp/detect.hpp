// Finds faces and their landmarks.
#pragma once

#include <vector>

#include "align.hpp"
#include "model.hpp"

namespace pocketface {

struct Face {
    double left, top, right, bottom;  // pixels; may reach beyond the picture
    Landmarks landmarks;
    double score;  // 0 to 1

    double area() const { return right > left && bottom > top ? (right - left) * (bottom - top) : 0; }
};

// The faces of a picture, best score first. The model is a detector of the kind "pocketface" or "yunet".
std::vector<Face> detect(Model& model, const Picture& picture);

}  // namespace pocketface
