// Kernels for training on a CPU: NHWC, channels a multiple of 16, one thread. Values are float32 or
// bfloat16; sums, statistics and what belongs to a channel are float32 or wider.
//
// A node is bn(a) + bn(b), bn(a) + b or bn(a) with batch statistics, and rectified in the rectified
// network. PyTorch passes over memory a dozen times for one; here it is twice each way.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

typedef float V __attribute__((vector_size(64), aligned(4), may_alias));
typedef int I __attribute__((vector_size(64)));
typedef unsigned U __attribute__((vector_size(64)));
typedef uint16_t H __attribute__((vector_size(32), aligned(2), may_alias));
struct bf16 {
    uint16_t bits; // the upper half of a float32
};
constexpr long L = 16;     // lanes
constexpr long CHUNK = 64; // rows that stay in the first cache while their channels are summed

static inline V load(const float *p) { return *reinterpret_cast<const V *>(p); }
static inline void store(float *p, V v) { *reinterpret_cast<V *>(p) = v; }
static inline V load(const bf16 *p) {
    return (V)(__builtin_convertvector(*reinterpret_cast<const H *>(p), U) << 16);
}
static inline void store(bf16 *p, V v) { // to the nearest, of two to the even one
    U u = (U)v;
    *reinterpret_cast<H *>(p) = __builtin_convertvector((u + 0x7fff + ((u >> 16) & 1)) >> 16, H);
}
static inline V relu(V v) { return v > 0.0f ? v : V{}; }

enum Mode { SINGLE = 0, BOTH = 1, RAW = 2 };

// Mean and inverse deviation of each channel; running statistics moved by `momentum`.
// Sums are kept in double from chunk to chunk, for float32 would lose the variance of many rows.
static void finish(const double *sums, long rows, long channels, float momentum, float eps,
                   float *mean, float *inverse, float *running_mean, float *running_var) {
    for (long c = 0; c < channels; ++c) {
        double m = sums[c] / rows, v = sums[channels + c] / rows - m * m;
        v = v > 0 ? v : 0;
        mean[c] = float(m);
        inverse[c] = float(1.0 / std::sqrt(v + eps));
        running_mean[c] += momentum * (float(m) - running_mean[c]);
        running_var[c] += momentum * (float(v * rows / (rows > 1 ? rows - 1 : 1)) - running_var[c]);
    }
}

template <int MODE, bool RECTIFIED, typename T>
static void forward(const T *a, const T *b, T *out, long rows, long channels,
                    const float *const *affine, float *const *running, float *saved,
                    float momentum, float eps) {
    constexpr int N = MODE == BOTH ? 2 : 1;
    const T *inputs[2] = {a, b};
    std::vector<double> sums(2 * N * channels, 0.0);
    for (long start = 0; start < rows; start += CHUNK) {
        long end = start + CHUNK < rows ? start + CHUNK : rows;
        for (long c = 0; c < channels; c += L)
            for (int k = 0; k < N; ++k) {
                V sum{}, square{};
                for (long r = start; r < end; ++r) {
                    V v = load(inputs[k] + r * channels + c);
                    sum += v;
                    square += v * v;
                }
                double *s = sums.data() + 2 * k * channels + c;
                for (long l = 0; l < L; ++l) s[l] += sum[l], s[channels + l] += square[l];
            }
    }
    std::vector<float> scale(N * channels), shift(channels, 0.0f);
    for (int k = 0; k < N; ++k) {
        float *mean = saved + 2 * k * channels, *inverse = mean + channels;
        finish(sums.data() + 2 * k * channels, rows, channels, momentum, eps, mean, inverse,
               running[2 * k], running[2 * k + 1]);
        for (long c = 0; c < channels; ++c) {
            scale[k * channels + c] = affine[2 * k][c] * inverse[c];
            shift[c] += affine[2 * k + 1][c] - mean[c] * scale[k * channels + c];
        }
    }
    for (long start = 0; start < rows; start += CHUNK) {
        long end = start + CHUNK < rows ? start + CHUNK : rows;
        for (long c = 0; c < channels; c += L) {
            V sa = load(&scale[c]), t = load(&shift[c]), sb{};
            if (MODE == BOTH) sb = load(&scale[channels + c]);
            for (long r = start; r < end; ++r) {
                long i = r * channels + c;
                V v = load(a + i) * sa + t;
                if (MODE == BOTH) v += load(b + i) * sb;
                if (MODE == RAW) v += load(b + i);
                store(out + i, RECTIFIED ? relu(v) : v);
            }
        }
    }
}

template <int MODE, bool RECTIFIED, typename T>
static void backward(const T *gradient, const T *out, const T *a, const T *b,
                     T *da, T *db, long rows, long channels, const float *const *affine,
                     const float *saved, float *const *daffine) {
    constexpr int N = MODE == BOTH ? 2 : 1;
    const T *inputs[2] = {a, b};
    std::vector<double> sums((1 + N) * channels, 0.0);
    for (long start = 0; start < rows; start += CHUNK) {
        long end = start + CHUNK < rows ? start + CHUNK : rows;
        for (long c = 0; c < channels; c += L) {
            V sum{}, product[2] = {};
            for (long r = start; r < end; ++r) {
                long i = r * channels + c;
                V g = load(gradient + i);
                if (RECTIFIED) g = load(out + i) > 0.0f ? g : V{};
                sum += g;
                for (int k = 0; k < N; ++k) product[k] += g * load(inputs[k] + i);
            }
            for (long l = 0; l < L; ++l) {
                sums[c + l] += sum[l];
                for (int k = 0; k < N; ++k) sums[(1 + k) * channels + c + l] += product[k][l];
            }
        }
    }
    // d input = p * g + q * input + s, per channel.
    std::vector<float> p(N * channels), q(N * channels), s(N * channels);
    for (int k = 0; k < N; ++k)
        for (long c = 0; c < channels; ++c) {
            double mean = saved[2 * k * channels + c], inverse = saved[(2 * k + 1) * channels + c];
            double gamma = affine[2 * k][c], total = sums[c];
            double dgamma = (sums[(1 + k) * channels + c] - mean * total) * inverse;
            daffine[2 * k][c] = float(dgamma);
            daffine[2 * k + 1][c] = float(total);
            long j = k * channels + c;
            p[j] = float(gamma * inverse);
            q[j] = float(-gamma * inverse * inverse * dgamma / rows);
            s[j] = float(-gamma * inverse * total / rows - double(q[j]) * mean);
        }
    for (long start = 0; start < rows; start += CHUNK) {
        long end = start + CHUNK < rows ? start + CHUNK : rows;
        for (long c = 0; c < channels; c += L) {
            V pa = load(&p[c]), qa = load(&q[c]), ra = load(&s[c]), pb{}, qb{}, rb{};
            if (MODE == BOTH) {
                pb = load(&p[channels + c]);
                qb = load(&q[channels + c]);
                rb = load(&s[channels + c]);
            }
            for (long r = start; r < end; ++r) {
                long i = r * channels + c;
                V g = load(gradient + i);
                if (RECTIFIED) g = load(out + i) > 0.0f ? g : V{};
                store(da + i, g * pa + load(a + i) * qa + ra);
                if (MODE == BOTH) store(db + i, g * pb + load(b + i) * qb + rb);
                if (MODE == RAW) store(db + i, g);
            }
        }
    }
}

// One image's 16 channels into a plane with a border of zeros: (h + 2 pad, w + 2 pad, 16).
template <typename T>
static void pad_plane(const T *x, float *plane, long h, long w, long channels, long pad) {
    long wide = w + 2 * pad;
    std::memset(plane, 0, sizeof(float) * (h + 2 * pad) * wide * L);
    for (long y = 0; y < h; ++y)
        for (long i = 0; i < w; ++i)
            store(plane + ((y + pad) * wide + i + pad) * L, load(x + (y * w + i) * channels));
}

// d weight[ky][kx] = sum over pixels of d output times the input at that offset.
template <int K, int S, typename T>
static void depthwise_weight(const T *x, const T *gradient, float *dweight, long n, long h,
                             long w, long channels) {
    constexpr int PAD = K / 2;
    const long high = (h + S - 1) / S, broad = (w + S - 1) / S; // of the output
    long wide = w + 2 * PAD;
    std::vector<float> plane((h + 2 * PAD) * wide * L);
    std::memset(dweight, 0, sizeof(float) * K * K * channels);
    for (long c = 0; c < channels; c += L)
        for (long image = 0; image < n; ++image) {
            const T *xi = x + image * h * w * channels + c;
            const T *gi = gradient + image * high * broad * channels + c;
            pad_plane(xi, plane.data(), h, w, channels, PAD);
            for (int ky = 0; ky < K; ++ky) {
                V even[K] = {}, odd[K] = {};
                for (long y = 0; y < high; ++y) {
                    const float *row = plane.data() + (y * S + ky) * wide * L;
                    const T *g = gi + y * broad * channels;
                    long i = 0;
                    for (; i + 1 < broad; i += 2) {
                        V g0 = load(g + i * channels), g1 = load(g + (i + 1) * channels);
                        for (int kx = 0; kx < K; ++kx) {
                            even[kx] += g0 * load(row + (i * S + kx) * L);
                            odd[kx] += g1 * load(row + ((i + 1) * S + kx) * L);
                        }
                    }
                    if (i < broad)
                        for (int kx = 0; kx < K; ++kx)
                            even[kx] += load(g + i * channels) * load(row + (i * S + kx) * L);
                }
                for (int kx = 0; kx < K; ++kx) {
                    float *d = dweight + (ky * K + kx) * channels + c;
                    store(d, load(d) + even[kx] + odd[kx]);
                }
            }
        }
}

// 3x3 maximum with stride 2 and padding 1; `taps` keeps which of the nine it was, the first of equals.
template <typename T>
static void pool(const T *x, T *out, int *taps, long n, long h, long w, long channels) {
    const long high = (h + 1) / 2, broad = (w + 1) / 2;
    for (long image = 0; image < n; ++image)
        for (long y = 0; y < high; ++y)
            for (long i = 0; i < broad; ++i)
                for (long c = 0; c < channels; c += L) {
                    V best = V{} - INFINITY;
                    I which{};
                    for (int tap = 0; tap < 9; ++tap) {
                        long row = 2 * y + tap / 3 - 1, column = 2 * i + tap % 3 - 1;
                        if (row < 0 || row >= h || column < 0 || column >= w) continue;
                        V v = load(x + ((image * h + row) * w + column) * channels + c);
                        I more = v > best;
                        best = more ? v : best;
                        which = more ? I{} + tap : which;
                    }
                    long at = ((image * high + y) * broad + i) * channels + c;
                    store(out + at, best);
                    std::memcpy(taps + at, &which, sizeof which);
                }
}

template <typename T>
static void pool_gradient(const T *gradient, const int *taps, T *dx, long n, long h, long w,
                          long channels) {
    const long high = (h + 1) / 2, broad = (w + 1) / 2;
    std::memset(dx, 0, sizeof(T) * n * h * w * channels);
    for (long image = 0; image < n; ++image)
        for (long y = 0; y < high; ++y)
            for (long i = 0; i < broad; ++i)
                for (long c = 0; c < channels; c += L) {
                    long at = ((image * high + y) * broad + i) * channels + c;
                    V g = load(gradient + at);
                    I which;
                    std::memcpy(&which, taps + at, sizeof which);
                    for (int tap = 0; tap < 9; ++tap) {
                        long row = 2 * y + tap / 3 - 1, column = 2 * i + tap % 3 - 1;
                        if (row < 0 || row >= h || column < 0 || column >= w) continue;
                        T *d = dx + ((image * h + row) * w + column) * channels + c;
                        store(d, load(d) + (which == tap ? g : V{}));
                    }
                }
}

// x where it is positive, else its channel's slope of it.
template <typename T>
static void prelu(const T *x, T *out, const float *slope, long rows, long channels) {
    for (long r = 0; r < rows; ++r)
        for (long c = 0; c < channels; c += L) {
            V v = load(x + r * channels + c);
            store(out + r * channels + c, v > 0.0f ? v : v * load(slope + c));
        }
}

template <typename T>
static void prelu_gradient(const T *gradient, const T *x, T *dx, const float *slope, float *dslope,
                           long rows, long channels) {
    std::vector<double> sums(channels, 0.0);
    for (long start = 0; start < rows; start += CHUNK) {
        long end = start + CHUNK < rows ? start + CHUNK : rows;
        for (long c = 0; c < channels; c += L) {
            V w = load(slope + c), sum{};
            for (long r = start; r < end; ++r) {
                long i = r * channels + c;
                V v = load(x + i), g = load(gradient + i);
                sum += v > 0.0f ? V{} : g * v;
                store(dx + i, v > 0.0f ? g : g * w);
            }
            for (long l = 0; l < L; ++l) sums[c + l] += sum[l];
        }
    }
    for (long c = 0; c < channels; ++c) dslope[c] = float(sums[c]);
}

template <bool RECTIFIED, typename T>
static void node(int mode, const T *a, const T *b, T *out, long rows, long channels,
                 const float *const *affine, float *const *running, float *saved, float momentum,
                 float eps) {
    auto f = mode == BOTH  ? forward<BOTH, RECTIFIED, T>
             : mode == RAW ? forward<RAW, RECTIFIED, T>
                           : forward<SINGLE, RECTIFIED, T>;
    f(a, b, out, rows, channels, affine, running, saved, momentum, eps);
}

template <bool RECTIFIED, typename T>
static void node_gradient(int mode, const T *gradient, const T *out, const T *a, const T *b, T *da,
                          T *db, long rows, long channels, const float *const *affine,
                          const float *saved, float *const *daffine) {
    auto f = mode == BOTH  ? backward<BOTH, RECTIFIED, T>
             : mode == RAW ? backward<RAW, RECTIFIED, T>
                           : backward<SINGLE, RECTIFIED, T>;
    f(gradient, out, a, b, da, db, rows, channels, affine, saved, daffine);
}

template <typename T>
static void depthwise(int kernel, int stride, const T *x, const T *gradient, float *dweight, long n,
                      long h, long w, long channels) {
    auto f = kernel == 3   ? (stride == 1 ? depthwise_weight<3, 1, T> : depthwise_weight<3, 2, T>)
             : kernel == 5 ? (stride == 1 ? depthwise_weight<5, 1, T> : depthwise_weight<5, 2, T>)
                           : (stride == 1 ? depthwise_weight<7, 1, T> : depthwise_weight<7, 2, T>);
    f(x, gradient, dweight, n, h, w, channels);
}

// Each by the name that Python calls, for float32 and, with the ending _bf16, for bfloat16.
#define KERNELS(NAME, T)                                                                            \
    void node_forward##NAME(int mode, int rectified, const T *a, const T *b, T *out, long rows,     \
                            long channels, const float *const *affine, float *const *running,       \
                            float *saved, float momentum, float eps) {                              \
        auto f = rectified ? node<true, T> : node<false, T>;                                        \
        f(mode, a, b, out, rows, channels, affine, running, saved, momentum, eps);                  \
    }                                                                                               \
    void node_backward##NAME(int mode, int rectified, const T *gradient, const T *out, const T *a,  \
                             const T *b, T *da, T *db, long rows, long channels,                    \
                             const float *const *affine, const float *saved,                        \
                             float *const *daffine) {                                               \
        auto f = rectified ? node_gradient<true, T> : node_gradient<false, T>;                      \
        f(mode, gradient, out, a, b, da, db, rows, channels, affine, saved, daffine);               \
    }                                                                                               \
    void prelu_forward##NAME(const T *x, T *out, const float *slope, long rows, long channels) {    \
        prelu(x, out, slope, rows, channels);                                                       \
    }                                                                                               \
    void prelu_backward##NAME(const T *gradient, const T *x, T *dx, const float *slope,             \
                              float *dslope, long rows, long channels) {                            \
        prelu_gradient(gradient, x, dx, slope, dslope, rows, channels);                             \
    }                                                                                               \
    void depthwise_weight_gradient##NAME(int kernel, int stride, const T *x, const T *gradient,     \
                                         float *dweight, long n, long h, long w, long channels) {   \
        depthwise(kernel, stride, x, gradient, dweight, n, h, w, channels);                         \
    }                                                                                               \
    void pool_forward##NAME(const T *x, T *out, int *taps, long n, long h, long w, long channels) { \
        pool(x, out, taps, n, h, w, channels);                                                      \
    }                                                                                               \
    void pool_backward##NAME(const T *gradient, const int *taps, T *dx, long n, long h, long w,     \
                             long channels) {                                                       \
        pool_gradient(gradient, taps, dx, n, h, w, channels);                                       \
    }

extern "C" {
KERNELS(, float)
KERNELS(_bf16, bf16)
}
