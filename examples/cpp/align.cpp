#include "align.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace pocketface {
namespace {

// Deng et al., "ArcFace", CVPR 2019.
constexpr Landmarks TEMPLATE{{{38.2946, 51.6963}, {73.5318, 51.5014}, {56.0252, 71.7366}, {41.5493, 92.3655}, {70.7299, 92.2041}}};

constexpr double OVERSAMPLE_ABOVE = 1.2;  // picture pixels a crop pixel

// Bilinear samples of the picture at a z + b for each pixel corner z of the result, counted from the corner.
Picture sample(const Picture& picture, Point a, Point b, int side) {
    Picture out(side, side);
    for (int v = 0; v < side; v++) {
        for (int u = 0; u < side; u++) {
            const double x = a.x * (u + 0.5) - a.y * (v + 0.5) + b.x;
            const double y = a.y * (u + 0.5) + a.x * (v + 0.5) + b.y;
            if (x < 0 || x >= picture.width || y < 0 || y >= picture.height) continue;
            const int x0 = int(std::floor(x - 0.5));
            const int y0 = int(std::floor(y - 0.5));
            const double dx = x - 0.5 - x0;
            const double dy = y - 0.5 - y0;
            const int left = std::max(x0, 0), right = std::min(x0 + 1, picture.width - 1);
            const int upper = std::max(y0, 0), lower = std::min(y0 + 1, picture.height - 1);
            for (int channel = 0; channel < 3; channel++) {
                auto pixel = [&](int column, int row) { return double(picture.at(column, row)[channel]); };
                const double above = pixel(left, upper) + (pixel(right, upper) - pixel(left, upper)) * dx;
                const double below = pixel(left, lower) + (pixel(right, lower) - pixel(left, lower)) * dx;
                out.at(u, v)[channel] = std::uint8_t(above + (below - above) * dy);
            }
        }
    }
    return out;
}

}  // namespace

Similarity estimate(const Landmarks& landmarks) {
    Point from{0, 0}, to{0, 0};
    for (int i = 0; i < 5; i++) {
        if (!std::isfinite(landmarks[i].x) || !std::isfinite(landmarks[i].y))
            throw std::invalid_argument("landmarks are not finite");
        from.x += landmarks[i].x / 5, from.y += landmarks[i].y / 5;
        to.x += TEMPLATE[i].x / 5, to.y += TEMPLATE[i].y / 5;
    }
    double spread = 0;
    Point a{0, 0};
    for (int i = 0; i < 5; i++) {
        const double dx = landmarks[i].x - from.x, dy = landmarks[i].y - from.y;
        const double ex = TEMPLATE[i].x - to.x, ey = TEMPLATE[i].y - to.y;
        spread += dx * dx + dy * dy;
        a.x += dx * ex + dy * ey;
        a.y += dx * ey - dy * ex;
    }
    if (spread <= 1e-6 || std::hypot(a.x, a.y) / spread < 1e-6)
        throw std::invalid_argument("landmarks coincide; no face can be cut out");
    a.x /= spread, a.y /= spread;
    return {a, {to.x - a.x * from.x + a.y * from.y, to.y - a.y * from.x - a.x * from.y}};
}

Picture align(const Picture& picture, const Landmarks& landmarks) {
    const auto [a, b] = estimate(landmarks);
    const double norm = a.x * a.x + a.y * a.y;
    const Point inverse{a.x / norm, -a.y / norm};
    const Point offset{-(inverse.x * b.x - inverse.y * b.y), -(inverse.y * b.x + inverse.x * b.y)};
    const double shrink = std::hypot(inverse.x, inverse.y);  // picture pixels per crop pixel
    // Bilinear sampling sees about two pixels: whole factors are averaged before it, the rest after it.
    const int before = std::max(int(shrink), 1);
    const int after = shrink / before > OVERSAMPLE_ABOVE ? 2 : 1;

    double left = 1e300, top = 1e300, right = -1e300, bottom = -1e300;
    for (double v : {-1.0, double(CROP_SIZE)}) {
        for (double u : {-1.0, double(CROP_SIZE)}) {
            const double x = inverse.x * u - inverse.y * v + offset.x;
            const double y = inverse.y * u + inverse.x * v + offset.y;
            left = std::min(left, x), right = std::max(right, x);
            top = std::min(top, y), bottom = std::max(bottom, y);
        }
    }
    auto clip = [](double value, int limit) { return int(std::clamp(value, 0.0, double(limit))); };
    const int x0 = clip(std::floor(left) - 2 * before, picture.width);
    const int y0 = clip(std::floor(top) - 2 * before, picture.height);
    const int x1 = clip(std::ceil(right) + 2 * before, picture.width);
    const int y1 = clip(std::ceil(bottom) + 2 * before, picture.height);
    if (x0 >= x1 || y0 >= y1) return Picture(CROP_SIZE, CROP_SIZE);
    const Picture region = reduce(cut(picture, x0, y0, x1, y1), before, before);

    const double finer = before * after;
    const Point step{inverse.x / finer, inverse.y / finer};
    const Point start{(offset.x + 0.5 - 0.5 * (inverse.x - inverse.y) - x0) / before,
                      (offset.y + 0.5 - 0.5 * (inverse.y + inverse.x) - y0) / before};
    return reduce(sample(region, step, start, CROP_SIZE * after), after, after);
}

}  // namespace pocketface
