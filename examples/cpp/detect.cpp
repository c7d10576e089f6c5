#include "detect.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace pocketface {
namespace {

constexpr double MIN_FACE = 0.05;  // smallest face looked for, as a fraction of the picture's height
constexpr double FACE_PX = 24;     // height at which a face is found reliably
constexpr double OVERLAP = 0.4, SCORE_THRESHOLD = 0.6;
constexpr int MAX_SIDE = 2560;
constexpr int GRID = 32;
constexpr int CLOSE_SIDE = 192;    // second try: the picture's longer side ...
constexpr int CLOSE_CANVAS = 320;  // ... in the middle of this much black

constexpr double DOUBTFUL[] = {0.3, 0.8};  // scores that two looks at the face alone decide
constexpr double JUDGED_FACE = 64;     // the face's height in the second of them, mirrored
constexpr double SEEN_WELL[] = {56, 200};  // heights on the canvas at which more looks bring nothing
constexpr int LOOK_SIDE = 160;         // side of the canvas with a face alone ...
constexpr double LOOK_FACE = 96;       // ... and the face's height there
constexpr double LOOK_SCORE = 0.3;     // less is nothing there
constexpr std::size_t MAX_LOOKS = 16;  // so many doubtful faces and so many seen small or large get them

// A picture as the graph sees it: canvas = (picture + 0.5) * scale - 0.5 + shift.
struct View {
    Picture canvas;
    double scale_x, scale_y;
    double left, top;  // the shift
};

View view(const Picture& picture, double scale, int canvas_width, int canvas_height, bool centred) {
    const int width = std::max(int(std::nearbyint(picture.width * scale)), 1);
    const int height = std::max(int(std::nearbyint(picture.height * scale)), 1);
    const Picture small = resize(picture, width, height);
    const int left = centred ? (canvas_width - width) / 2 : 0;
    const int top = centred ? (canvas_height - height) / 2 : 0;
    Picture canvas(canvas_width, canvas_height);
    for (int y = 0; y < height; y++) std::copy_n(small.at(0, y), 3 * width, canvas.at(left, top + y));
    return {canvas, double(width) / picture.width, double(height) / picture.height, double(left), double(top)};
}

int up(double length) {
    return std::max((int(std::nearbyint(length)) + GRID - 1) / GRID, 1) * GRID;
}

View fit(const Picture& picture, const nlohmann::json& size) {
    const double height = picture.height, width = picture.width;
    if (!size.at(0).is_null()) {
        const int rows = size.at(0), columns = size.at(1);
        return view(picture, std::min({1.0, rows / height, columns / width}), columns, rows, false);
    }
    const double scale = std::min({1.0, FACE_PX / MIN_FACE / height, MAX_SIDE / std::max(height, width)});
    return view(picture, scale, up(width * scale), up(height * scale), false);
}

// Faces that fill or overflow the frame: smaller, with a margin.
View fit_close(const Picture& picture, const nlohmann::json& size) {
    const int rows = size.at(0).is_null() ? CLOSE_CANVAS : size.at(0).get<int>();
    const int columns = size.at(1).is_null() ? CLOSE_CANVAS : size.at(1).get<int>();
    const double side = CLOSE_SIDE * double(std::min(rows, columns)) / CLOSE_CANVAS;
    return view(picture, std::min(1.0, side / std::max(picture.height, picture.width)), columns, rows, true);
}

// The scale at which the landmarks of a face are found best.
double best_scale(const Face& face) {
    return std::min(1.0, LOOK_FACE / (face.bottom - face.top));
}

// One face alone.
View fit_face(const Picture& picture, const nlohmann::json& size, const Face& face, double scale) {
    const int rows = size.at(0).is_null() ? LOOK_SIDE : size.at(0).get<int>();
    const int columns = size.at(1).is_null() ? LOOK_SIDE : size.at(1).get<int>();
    const double half = (LOOK_SIDE / 2 - 1) / scale;
    const double x = (face.left + face.right) / 2, y = (face.top + face.bottom) / 2;
    auto clip = [](double value, int low, int high) { return int(std::clamp(value, double(low), double(high))); };
    const int left = clip(std::floor(x - half), 0, picture.width - 1);
    const int top = clip(std::floor(y - half), 0, picture.height - 1);
    const int right = std::max(clip(std::ceil(x + half), 1, picture.width), left + 1);
    const int bottom = std::max(clip(std::ceil(y + half), 1, picture.height), top + 1);
    // Whole pixels may be a little more than the canvas holds.
    scale = std::min(scale, double(std::min(rows, columns)) / std::max(right - left, bottom - top));
    View result = view(cut(picture, left, top, right, bottom), scale, columns, rows, true);
    result.left -= left * result.scale_x;
    result.top -= top * result.scale_y;
    return result;
}

const std::vector<float>& output(const Outputs& outputs, const std::string& name, int stride, std::size_t size) {
    const auto found = outputs.find(name + "_" + std::to_string(stride));
    if (found == outputs.end() || found->second.size() != size)
        throw std::runtime_error("the detector's output " + name + " is not as expected; does its card name the right kind?");
    return found->second;
}

// The project's own detector: logits, and distances in strides from the cell's centre.
void decode_pocketface(const Outputs& outputs, int stride, int rows, int columns, double threshold, std::vector<Face>& faces) {
    const double logit = std::log(threshold / (1 - threshold));
    const std::size_t cells = std::size_t(rows) * columns;
    const auto& scores = output(outputs, "score", stride, cells);
    const auto& bbox = output(outputs, "bbox", stride, 4 * cells);
    const auto& kps = output(outputs, "kps", stride, 10 * cells);
    for (std::size_t cell = 0; cell < cells; cell++) {
        if (scores[cell] < logit) continue;
        const double x = cell % columns + 0.5, y = cell / columns + 0.5;
        Face face{};
        face.score = 1 / (1 + std::exp(-double(scores[cell])));
        face.left = (x - bbox[cell]) * stride;
        face.top = (y - bbox[cells + cell]) * stride;
        face.right = (x + bbox[2 * cells + cell]) * stride;
        face.bottom = (y + bbox[3 * cells + cell]) * stride;
        for (int i = 0; i < 5; i++)
            face.landmarks[i] = {(x + kps[2 * i * cells + cell]) * stride, (y + kps[(2 * i + 1) * cells + cell]) * stride};
        faces.push_back(face);
    }
}

// YuNet: score sqrt(cls * obj), box as centre offset and log size, from the cell's corner.
void decode_yunet(const Outputs& outputs, int stride, int rows, int columns, double threshold, std::vector<Face>& faces) {
    const std::size_t cells = std::size_t(rows) * columns;
    const auto& cls = output(outputs, "cls", stride, cells);
    const auto& obj = output(outputs, "obj", stride, cells);
    const auto& bbox = output(outputs, "bbox", stride, 4 * cells);
    const auto& kps = output(outputs, "kps", stride, 10 * cells);
    for (std::size_t cell = 0; cell < cells; cell++) {
        Face face{};
        face.score = std::sqrt(std::clamp(double(cls[cell]), 0.0, 1.0) * std::clamp(double(obj[cell]), 0.0, 1.0));
        if (!(face.score >= threshold)) continue;
        const double column = cell % columns, row = cell / columns;
        const float* box = &bbox[4 * cell];
        const float* points = &kps[10 * cell];
        const double x = (column + box[0]) * stride, y = (row + box[1]) * stride;
        const double half_width = std::exp(std::min(box[2], 20.0f)) * stride / 2;
        const double half_height = std::exp(std::min(box[3], 20.0f)) * stride / 2;
        face.left = x - half_width, face.right = x + half_width;
        face.top = y - half_height, face.bottom = y + half_height;
        for (int i = 0; i < 5; i++)
            face.landmarks[i] = {(column + points[2 * i]) * stride, (row + points[2 * i + 1]) * stride};
        faces.push_back(face);
    }
}

// Intersection over union of two faces' boxes.
double overlap(const Face& a, const Face& b) {
    const double width = std::min(a.right, b.right) - std::max(a.left, b.left);
    const double height = std::min(a.bottom, b.bottom) - std::max(a.top, b.top);
    const double shared = std::max(width, 0.0) * std::max(height, 0.0);
    return shared / std::max(a.area() + b.area() - shared, 1e-9);
}

// Greedy non-maximum suppression.
std::vector<Face> suppress(std::vector<Face> faces) {
    std::stable_sort(faces.begin(), faces.end(), [](const Face& a, const Face& b) { return a.score > b.score; });
    std::vector<Face> kept;
    for (const Face& face : faces) {
        const bool covered = std::any_of(kept.begin(), kept.end(), [&](const Face& better) {
            return overlap(better, face) > OVERLAP;
        });
        if (!covered) kept.push_back(face);
    }
    return kept;
}

// Whether a crop can be cut out: an extent of a pixel at least, landmarks that do not coincide.
bool plausible(const Face& face) {
    const auto by_x = [](const Point& a, const Point& b) { return a.x < b.x; };
    const auto by_y = [](const Point& a, const Point& b) { return a.y < b.y; };
    const auto [left, right] = std::minmax_element(face.landmarks.begin(), face.landmarks.end(), by_x);
    const auto [top, bottom] = std::minmax_element(face.landmarks.begin(), face.landmarks.end(), by_y);
    const bool apart = right->x - left->x >= 1 || bottom->y - top->y >= 1;
    return face.right - face.left >= 1 && face.bottom - face.top >= 1 && apart;
}

std::vector<Face> search(Model& model, const View& view, double threshold) {
    const Outputs outputs = model.run(view.canvas);
    const std::string kind = model.card().at("kind");
    std::vector<Face> faces;
    for (int stride : {8, 16, 32}) {
        const int rows = view.canvas.height / stride, columns = view.canvas.width / stride;
        if (kind == "pocketface") {
            decode_pocketface(outputs, stride, rows, columns, threshold, faces);
        } else if (kind == "yunet") {
            decode_yunet(outputs, stride, rows, columns, threshold, faces);
        } else {
            throw std::runtime_error("detectors of the kind " + kind + " are not decoded here");
        }
    }
    faces = suppress(faces);
    auto back_x = [&](double& x) { x = (x - view.left + 0.5) / view.scale_x - 0.5; };
    auto back_y = [&](double& y) { y = (y - view.top + 0.5) / view.scale_y - 0.5; };
    for (Face& face : faces) {
        back_x(face.left), back_x(face.right), back_y(face.top), back_y(face.bottom);
        for (Point& point : face.landmarks) back_x(point.x), back_y(point.y);
    }
    faces.erase(std::remove_if(faces.begin(), faces.end(), [](const Face& face) { return !plausible(face); }), faces.end());
    return faces;
}

// The view with its canvas mirrored.
View mirrored(View view) {
    for (int y = 0; y < view.canvas.height; y++) {
        for (int left = 0, right = view.canvas.width - 1; left < right; left++, right--) {
            std::swap_ranges(view.canvas.at(left, y), view.canvas.at(left, y) + 3, view.canvas.at(right, y));
        }
    }
    return view;
}

// A face that was found in the mirrored canvas of a view, as it is in the picture.
Face mirrored_back(const Face& face, const View& view) {
    const double total = (view.canvas.width - 2 * view.left) / view.scale_x - 1;
    Face result = face;
    result.left = total - face.right, result.right = total - face.left;
    const auto& marks = face.landmarks;
    result.landmarks = {marks[1], marks[0], marks[2], marks[4], marks[3]};
    for (Point& point : result.landmarks) point.x = total - point.x;
    return result;
}

// The one of `others` that is this face, or null.
const Face* same(const Face& face, const std::vector<Face>& others) {
    const auto best = std::max_element(others.begin(), others.end(), [&](const Face& a, const Face& b) {
        return overlap(face, a) < overlap(face, b);
    });
    return best == others.end() || overlap(face, *best) <= 0.5 ? nullptr : &*best;
}

// What one view of a face alone shows of it, and another, mirrored; none, one or two faces.
std::vector<Face> looks(Model& model, const Face& face, const View& plain, const View& turned) {
    const auto ours = search(model, plain, LOOK_SCORE);
    auto theirs = search(model, mirrored(turned), LOOK_SCORE);
    for (Face& other : theirs) other = mirrored_back(other, turned);
    std::vector<Face> seen;
    for (const Face* look : {same(face, ours), same(face, theirs)}) {
        if (look) seen.push_back(*look);
    }
    return seen;
}

// Faces of a view; a doubtful score is the mean of three: its own and those of two looks at the face alone.
std::vector<Face> judged(Model& model, const Picture& picture, const View& view) {
    const auto& size = model.card().at("input").at("size");
    auto faces = search(model, view, DOUBTFUL[0]);
    std::size_t looked = 0;
    for (Face& face : faces) {
        if (face.score >= DOUBTFUL[1]) continue;
        if (looked++ == MAX_LOOKS) break;
        const View plain = fit_face(picture, size, face, best_scale(face));
        const View small = fit_face(picture, size, face, JUDGED_FACE / (face.bottom - face.top));
        double sum = face.score;
        for (const Face& look : looks(model, face, plain, small)) sum += look.score;
        face.score = sum / 3;
    }
    const auto low = [](const Face& face) { return face.score < SCORE_THRESHOLD; };
    faces.erase(std::remove_if(faces.begin(), faces.end(), low), faces.end());
    std::stable_sort(faces.begin(), faces.end(), [](const Face& a, const Face& b) { return a.score > b.score; });
    return faces;
}

// Replace boxes and landmarks not seen well by the mean of two looks at the face alone, one of them mirrored.
void look_closer(Model& model, const Picture& picture, const View& seen, std::vector<Face>& faces) {
    std::vector<Face*> largest;
    for (Face& face : faces) {
        const double height = (face.bottom - face.top) * seen.scale_y;
        if (height < SEEN_WELL[0] || height > SEEN_WELL[1]) largest.push_back(&face);
    }
    std::stable_sort(largest.begin(), largest.end(), [](Face* a, Face* b) { return a->area() > b->area(); });
    if (largest.size() > MAX_LOOKS) largest.resize(MAX_LOOKS);
    for (Face* face : largest) {
        const View view = fit_face(picture, model.card().at("input").at("size"), *face, best_scale(*face));
        const auto seen = looks(model, *face, view, view);
        if (seen.empty()) continue;
        const Face *one = &seen.front(), *two = &seen.back();
        auto mean = [](double a, double b) { return (a + b) / 2; };
        Face better = *face;
        better.left = mean(one->left, two->left), better.right = mean(one->right, two->right);
        better.top = mean(one->top, two->top), better.bottom = mean(one->bottom, two->bottom);
        for (int i = 0; i < 5; i++) {
            const Point a = one->landmarks[i], b = two->landmarks[i];
            better.landmarks[i] = {mean(a.x, b.x), mean(a.y, b.y)};
        }
        *face = better;
    }
}

}  // namespace

std::vector<Face> detect(Model& model, const Picture& picture) {
    const auto& size = model.card().at("input").at("size");
    View seen = fit(picture, size);
    auto faces = judged(model, picture, seen);
    if (faces.empty()) faces = judged(model, picture, seen = fit_close(picture, size));
    look_closer(model, picture, seen, faces);
    return faces;
}

}  // namespace pocketface
