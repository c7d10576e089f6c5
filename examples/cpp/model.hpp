// A graph, its card, and an ONNX Runtime session for it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <onnxruntime_cxx_api.h>

#include "picture.hpp"

namespace pocketface {

using Outputs = std::map<std::string, std::vector<float>>;

class Model {
public:
    // The card `x.json` names the graph beside it. Throws std::runtime_error when it does not fit.
    Model(Ort::Env& env, const std::string& card_path, const std::string& task);

    // Run the graph on a picture; each output, flattened, by its name.
    Outputs run(const Picture& picture);

    const nlohmann::json& card() const { return card_; }

private:
    nlohmann::json card_;
    Ort::Session session_{nullptr};
    std::vector<std::string> names_;
};

}  // namespace pocketface
