// Pictures as plain RGB pixels, read from JPEG files and resized as Pillow resizes them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pocketface {

// RGB, 8 bits, rows from the top, upright.
struct Picture {
    int width = 0;
    int height = 0;
    std::vector<std::uint8_t> data;  // 3 * width * height

    Picture() = default;
    Picture(int w, int h) : width(w), height(h), data(std::size_t(3) * w * h) {}
    const std::uint8_t* at(int x, int y) const { return &data[3 * (std::size_t(y) * width + x)]; }
    std::uint8_t* at(int x, int y) { return &data[3 * (std::size_t(y) * width + x)]; }
};

// Decode a JPEG file and apply its EXIF orientation. Throws std::runtime_error that names the file.
Picture read_jpeg(const std::string& path);

// The part from (left, top) up to, not including, (right, bottom).
Picture cut(const Picture& picture, int left, int top, int right, int bottom);

// Average blocks of pixels; the blocks at the right and lower edge may be smaller.
Picture reduce(const Picture& picture, int across, int down);

// Bilinear with a triangle filter as wide as the reduction; large reductions are averaged in blocks first.
Picture resize(const Picture& picture, int width, int height);

}  // namespace pocketface
