#include "model.hpp"

#include <filesystem>
#include <fstream>
#include <stdexcept>

namespace pocketface {

Model::Model(Ort::Env& env, const std::string& card_path, const std::string& task) {
    std::ifstream file(card_path);
    if (!file) throw std::runtime_error(card_path + ": cannot be read");
    card_ = nlohmann::json::parse(file);
    if (card_.at("task") != task || card_.at("format") != "onnx" || card_.at("input").at("dtype") != "float32" ||
        card_.at("input").at("layout") != "NCHW")
        throw std::runtime_error(card_path + ": not the card of an fp32 ONNX graph with task " + task);
    const auto graph = std::filesystem::path(card_path).parent_path() / card_.at("file").get<std::string>();
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(2);  // leaves a small device responsive
    session_ = Ort::Session(env, graph.c_str(), options);
    Ort::AllocatorWithDefaultOptions allocator;
    for (std::size_t i = 0; i < session_.GetOutputCount(); i++)
        names_.push_back(session_.GetOutputNameAllocated(i, allocator).get());
}

Outputs Model::run(const Picture& picture) {
    const auto& input = card_.at("input");
    const bool bgr = input.at("channels") == "bgr";
    const std::size_t pixels = std::size_t(picture.width) * picture.height;
    std::vector<float> tensor(3 * pixels);
    for (int channel = 0; channel < 3; channel++) {
        const float mean = input.at("mean").at(channel), scale = input.at("scale").at(channel);
        const int from = bgr ? 2 - channel : channel;
        for (std::size_t i = 0; i < pixels; i++)
            tensor[channel * pixels + i] = (float(picture.data[3 * i + from]) - mean) * scale;
    }
    const std::int64_t shape[] = {1, 3, picture.height, picture.width};
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    const auto value = Ort::Value::CreateTensor<float>(memory, tensor.data(), tensor.size(), shape, 4);
    const std::string input_name = input.at("name");
    const char* input_names[] = {input_name.c_str()};
    std::vector<const char*> output_names;
    for (const auto& name : names_) output_names.push_back(name.c_str());
    auto values = session_.Run(Ort::RunOptions{nullptr}, input_names, &value, 1, output_names.data(), output_names.size());
    Outputs outputs;
    for (std::size_t i = 0; i < names_.size(); i++) {
        const float* data = values[i].GetTensorData<float>();
        outputs[names_[i]].assign(data, data + values[i].GetTensorTypeAndShapeInfo().GetElementCount());
    }
    return outputs;
}

}  // namespace pocketface
