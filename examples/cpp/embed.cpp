#include "embed.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>

namespace pocketface {

std::vector<float> embed(Model& model, const Picture& crop) {
    const auto& spec = model.card().at("output");
    auto embedding = model.run(crop).at(spec.at("name"));
    if (embedding.size() != spec.at("dim")) throw std::runtime_error("the embedder's output does not fit its card");
    const double norm = std::sqrt(std::inner_product(embedding.begin(), embedding.end(), embedding.begin(), 0.0));
    if (!(norm >= 1e-6) || !std::isfinite(norm)) throw std::runtime_error("the embedding is zero or not finite");
    for (float& value : embedding) value = float(value / norm);
    return embedding;
}

double similarity(const std::vector<float>& a, const std::vector<float>& b) {
    if (a.size() != b.size()) throw std::invalid_argument("embeddings of different dimensions");
    return std::clamp(std::inner_product(a.begin(), a.end(), b.begin(), 0.0), -1.0, 1.0);
}

Threshold threshold_for(const nlohmann::json& card, double fmr) {
    constexpr double MIN_EXPECTED_ERRORS = 3;  // the "rule of 3" of ISO/IEC 19795-1
    Threshold best{0, 0};
    for (const auto& entry : card.at("thresholds")) {
        const double rate = entry.at("fmr"), pairs = entry.at("impostor_pairs");
        const bool supported = rate * pairs >= MIN_EXPECTED_ERRORS * (1 - 1e-9);
        if (supported && rate <= fmr * (1 + 1e-9) && rate > best.fmr) best = {entry.at("value"), rate};
    }
    if (best.fmr == 0) throw std::runtime_error("the embedder's card supports no such false match rate");
    return best;
}

}  // namespace pocketface
