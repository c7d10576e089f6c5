// verify DETECTOR.json EMBEDDER.json A.jpg B.jpg [FMR]
// Exit status: 0 same person, 1 different people, 2 error.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>

#include "align.hpp"
#include "detect.hpp"
#include "embed.hpp"

namespace {

using namespace pocketface;

// The embedding of a file's largest face.
std::vector<float> describe(Model& detector, Model& embedder, const std::string& path) {
    const Picture picture = read_jpeg(path);
    const auto faces = detect(detector, picture);
    if (faces.empty()) throw std::runtime_error(path + ": no face was found");
    const auto largest =
        std::max_element(faces.begin(), faces.end(), [](const Face& a, const Face& b) { return a.area() < b.area(); });
    return embed(embedder, align(picture, largest->landmarks));
}

}  // namespace

int main(int count, char** values) {
    if (count < 5 || count > 6) {
        std::fprintf(stderr, "usage: verify DETECTOR.json EMBEDDER.json A.jpg B.jpg [FMR]\n");
        return 2;
    }
    try {
        Ort::Env env(ORT_LOGGING_LEVEL_ERROR, "pocketface");
        Model detector(env, values[1], "detect");
        Model embedder(env, values[2], "embed");
        const double fmr = count == 6 ? std::atof(values[5]) : 1e-3;
        const Threshold threshold = threshold_for(embedder.card(), fmr);
        const double value =
            similarity(describe(detector, embedder, values[3]), describe(detector, embedder, values[4]));
        const bool same = value >= threshold.value;
        std::printf("%s: similarity %.6f, threshold %.6f (FMR %g)\n", same ? "same person" : "different people", value,
                    threshold.value, threshold.fmr);
        return same ? 0 : 1;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "verify: %s\n", error.what());
        return 2;
    }
}
