#include "picture.hpp"

#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>

#include <jpeglib.h>

namespace pocketface {
namespace {

constexpr long long MAX_PIXELS = 64'000'000;  // more are refused before decoding
constexpr int PRECISION = 22;                 // bits of a filter weight's fraction, as in Pillow

struct JpegError {
    jpeg_error_mgr base;  // first, so that libjpeg's pointer to it points to this
    std::jmp_buf back;
    char message[JMSG_LENGTH_MAX];
};

// EXIF 2.32, 4.6.4: tag 0x0112 in the first directory of the TIFF structure behind "Exif\0\0".
int orientation_of(const jpeg_decompress_struct& jpeg) {
    for (auto marker = jpeg.marker_list; marker != nullptr; marker = marker->next) {
        const std::uint8_t* data = marker->data;
        const std::size_t size = marker->data_length;
        if (size < 14 || std::memcmp(data, "Exif\0\0", 6) != 0) continue;
        const std::uint8_t* tiff = data + 6;
        const std::size_t length = size - 6;
        const bool little = tiff[0] == 'I';
        auto number = [&](std::size_t at, int bytes) -> std::size_t {
            std::size_t value = 0;
            if (at + bytes > length) return 0;
            for (int i = 0; i < bytes; i++) value |= std::size_t(tiff[at + i]) << 8 * (little ? i : bytes - 1 - i);
            return value;
        };
        const std::size_t directory = number(4, 4);
        for (std::size_t i = 0; i < number(directory, 2); i++) {
            const std::size_t entry = directory + 2 + 12 * i;
            if (number(entry, 2) == 0x0112) return int(number(entry + 8, 2));
        }
    }
    return 1;
}

Picture upright(const Picture& picture, int orientation) {
    if (orientation < 2 || orientation > 8) return picture;
    const bool swapped = orientation >= 5;
    Picture out(swapped ? picture.height : picture.width, swapped ? picture.width : picture.height);
    const bool from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    const bool from_below = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    for (int y = 0; y < out.height; y++) {
        for (int x = 0; x < out.width; x++) {
            int u = swapped ? y : x;
            int v = swapped ? x : y;
            if (from_right) u = picture.width - 1 - u;
            if (from_below) v = picture.height - 1 - v;
            std::copy_n(picture.at(u, v), 3, out.at(x, y));
        }
    }
    return out;
}

struct Taps {
    int first;
    std::vector<int> weights;
};

// For each output pixel the first input pixel and the weights from there on.
std::vector<Taps> taps(int from, double exact_extent, int to) {
    const double extent = static_cast<float>(exact_extent);  // Pillow keeps it in single precision
    const double scale = extent / to;
    const double support = std::max(scale, 1.0);
    std::vector<Taps> result(to);
    for (int i = 0; i < to; i++) {
        const double centre = (i + 0.5) * scale;
        const int first = std::max(int(centre - support + 0.5), 0);
        const int end = std::min(int(centre + support + 0.5), from);
        std::vector<double> triangle(end - first);
        double sum = 0;
        for (int j = 0; j < end - first; j++) {
            triangle[j] = std::max(1 - std::abs((j + first - centre + 0.5) / support), 0.0);
            sum += triangle[j];
        }
        result[i].first = first;
        for (double value : triangle) result[i].weights.push_back(int(0.5 + value / sum * (1 << PRECISION)));
    }
    return result;
}

Picture filter(const Picture& picture, double extent, int size, bool horizontal) {
    const auto all = taps(horizontal ? picture.width : picture.height, extent, size);
    Picture out(horizontal ? size : picture.width, horizontal ? picture.height : size);
    for (int y = 0; y < out.height; y++) {
        for (int x = 0; x < out.width; x++) {
            const Taps& tap = all[horizontal ? x : y];
            for (int channel = 0; channel < 3; channel++) {
                int sum = 1 << (PRECISION - 1);
                for (int i = 0; i < int(tap.weights.size()); i++) {
                    const auto* pixel = horizontal ? picture.at(tap.first + i, y) : picture.at(x, tap.first + i);
                    sum += pixel[channel] * tap.weights[i];
                }
                out.at(x, y)[channel] = std::uint8_t(sum >> PRECISION);
            }
        }
    }
    return out;
}

}  // namespace

Picture read_jpeg(const std::string& path) {
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
    if (!file) throw std::runtime_error(path + ": " + std::strerror(errno));
    jpeg_decompress_struct jpeg;
    JpegError error;
    Picture picture;
    jpeg.err = jpeg_std_error(&error.base);
    error.base.error_exit = [](j_common_ptr info) {
        auto* mine = reinterpret_cast<JpegError*>(info->err);
        info->err->format_message(info, mine->message);
        std::longjmp(mine->back, 1);
    };
    error.base.output_message = [](j_common_ptr) {};
    if (setjmp(error.back)) {
        jpeg_destroy_decompress(&jpeg);
        throw std::runtime_error(path + ": not a JPEG file, or a damaged one (" + error.message + ")");
    }
    jpeg_create_decompress(&jpeg);
    jpeg_stdio_src(&jpeg, file.get());
    jpeg_save_markers(&jpeg, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(&jpeg, TRUE);
    if (static_cast<long long>(jpeg.image_width) * jpeg.image_height > MAX_PIXELS) {
        jpeg_destroy_decompress(&jpeg);
        throw std::runtime_error(path + ": more than 64 megapixels");
    }
    const int orientation = orientation_of(jpeg);
    jpeg.out_color_space = JCS_RGB;
    jpeg_start_decompress(&jpeg);
    picture = Picture(int(jpeg.output_width), int(jpeg.output_height));
    while (jpeg.output_scanline < jpeg.output_height) {
        JSAMPROW row = picture.at(0, int(jpeg.output_scanline));
        jpeg_read_scanlines(&jpeg, &row, 1);
    }
    const bool damaged = error.base.num_warnings > 0;
    jpeg_finish_decompress(&jpeg);
    jpeg_destroy_decompress(&jpeg);
    if (damaged) throw std::runtime_error(path + ": damaged or truncated");
    return upright(picture, orientation);
}

Picture cut(const Picture& picture, int left, int top, int right, int bottom) {
    Picture out(right - left, bottom - top);
    for (int y = 0; y < out.height; y++) std::copy_n(picture.at(left, top + y), 3 * out.width, out.at(0, y));
    return out;
}

Picture reduce(const Picture& picture, int across, int down) {
    if (across == 1 && down == 1) return picture;
    Picture out((picture.width + across - 1) / across, (picture.height + down - 1) / down);
    for (int y = 0; y < out.height; y++) {
        const int rows = std::min(down, picture.height - y * down);
        for (int x = 0; x < out.width; x++) {
            const int columns = std::min(across, picture.width - x * across);
            const std::uint64_t count = std::uint64_t(rows) * columns;
            for (int channel = 0; channel < 3; channel++) {
                std::uint64_t sum = count / 2;
                for (int j = 0; j < rows; j++)
                    for (int i = 0; i < columns; i++) sum += picture.at(x * across + i, y * down + j)[channel];
                out.at(x, y)[channel] = std::uint8_t(sum * ((1u << 24) / count) >> 24);  // rounds as Pillow does
            }
        }
    }
    return out;
}

Picture resize(const Picture& picture, int width, int height) {
    const int across = std::max(int(double(picture.width) / width / 2), 1);
    const int down = std::max(int(double(picture.height) / height / 2), 1);
    Picture out = reduce(picture, across, down);
    // The last block may have been a partial one, so the picture ends within the last pixel.
    const double extent_x = double(picture.width) / across;
    const double extent_y = double(picture.height) / down;
    if (extent_x != width) out = filter(out, extent_x, width, true);
    if (extent_y != height) out = filter(out, extent_y, height, false);
    return out;
}

}  // namespace pocketface
