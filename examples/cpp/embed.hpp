// Describes an aligned face, and compares two descriptions.
#pragma once

#include <vector>

#include "model.hpp"

namespace pocketface {

// The embedding of an aligned 112 x 112 crop, of unit norm.
std::vector<float> embed(Model& model, const Picture& crop);

// Cosine similarity of two embeddings, -1 to 1.
double similarity(const std::vector<float>& a, const std::vector<float>& b);

struct Threshold {
    double value, fmr;
};

// The card's threshold for a false match rate, the measured one or the next stricter.
// Throws std::runtime_error when the card's impostor pairs support none.
Threshold threshold_for(const nlohmann::json& card, double fmr);

}  // namespace pocketface
