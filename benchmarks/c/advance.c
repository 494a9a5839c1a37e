/* pipeline.kernels.advance in C, for `make bench` alone: what a compiler makes of the same arithmetic.

   One pass over the samples; the structs are the dtypes SIGNAL, FRAME and HOP. It covers what is
   measured: a gun whose frames come without gaps, at one rate and commanded speed, its frequency
   followed by phase. `benchmarks.c_twin` checks that its rows are those of the kernels. */

#include <complex.h>
#include <math.h>
#include <stdint.h>

#define SUMS 32
#define BLOCKS 48
#define SECTIONS 3
#define ORDERS 6

typedef struct {
    double rate_hz;
    int32_t hop_samples, hop_position, has_previous, settled;
    int64_t anchor_ns, anchor_samples;
    double set_hz, f_hz, last_f_hz, ratio, phase_re, phase_im, window_re, window_im;
    double b[SUMS], a[SUMS], previous_a[SUMS];
    float blocks[2][BLOCKS][4];
    double g_per_lsb, last_z1[2], last_i1[2], z_max, z_min, previous_z_max, previous_z_min;
    int32_t clipped, flags, last_lsb[4], run[4];
    double wh_b[SECTIONS][3], wh_a[SECTIONS][2], wh_state[3][SECTIONS][2], wh_sum[3];
} Signal;

typedef struct {
    int32_t slot, samples;
    int64_t missing, t0_ns;
    double rate_hz, set_hz, g_per_lsb, a_per_lsb;
    int32_t flags;
} Frame;

typedef struct {
    int32_t slot, frame;
    int64_t t_ns;
    double rate_hz, set_hz, f_hz, present;
    double complex z_order[ORDERS], i_order[4];
    double mean[4], sd[4], z_kurtosis, z_peak_up, z_peak_down, a_hw[3], clipped;
    int32_t flags, stuck, settled;
} Hop;

int64_t sizes(int k) { return k == 0 ? sizeof(Signal) : k == 1 ? sizeof(Frame) : sizeof(Hop); }

static int64_t now_ns(const Signal *s) {
    return s->anchor_ns + llrint(s->anchor_samples * (1e9 / s->rate_hz));
}

static void start_hop(Signal *s) {
    s->hop_samples = (int32_t)lrint(0.25 * s->rate_hz);
    s->hop_position = 0;
    for (int j = 0; j < SUMS; j++) s->a[j] = s->b[j] = 0.0;
    for (int k = 0; k < BLOCKS; k++)
        for (int j = 0; j < 4; j++) {
            s->blocks[0][k][j] = s->blocks[1][k][j];
            s->blocks[1][k][j] = 0.0f;
        }
    s->z_max = -1e300, s->z_min = 1e300;
    s->clipped = s->flags = 0;
    for (int c = 0; c < 4; c++) s->run[c] = 0;
    for (int c = 0; c < 3; c++) s->wh_sum[c] = 0.0;
    double norm = 1.0 / hypot(s->phase_re, s->phase_im);
    s->phase_re *= norm, s->phase_im *= norm;
    double angle = M_PI * 0.5 / s->hop_samples;
    s->window_re = cos(angle), s->window_im = sin(angle);
}

static void accumulate(Signal *restrict s, const int16_t (*restrict lsb)[4], int count,
                       double g_per_lsb, double a_per_lsb) {
    const int n = s->hop_samples;
    const double half = M_PI * s->f_hz / s->rate_hz, step_re = cos(half), step_im = -sin(half);
    const double turn_re = cos(M_PI / n), turn_im = sin(M_PI / n), lsb_per_g = 1.0 / g_per_lsb;
    double p_re = s->phase_re, p_im = s->phase_im, w_re = s->window_re, w_im = s->window_im;
    double z_max = s->z_max, z_min = s->z_min, b[SUMS], a[SUMS];
    double st[SECTIONS][2][4], weighted[4];
    for (int j = 0; j < SUMS; j++) b[j] = s->b[j], a[j] = s->a[j];
    for (int c = 0; c < 4; c++) { /* the current too: four lanes cost what three do */
        weighted[c] = c < 3 ? s->wh_sum[c] : 0.0;
        for (int q = 0; q < SECTIONS; q++)
            for (int d = 0; d < 2; d++) st[q][d][c] = c < 3 ? s->wh_state[c][q][d] : 0.0;
    }
    s->g_per_lsb = g_per_lsb;
    for (int k = 0; k < count; k++) {
        double u[4] = {lsb[k][0] * g_per_lsb, lsb[k][1] * g_per_lsb, lsb[k][2] * g_per_lsb,
                       lsb[k][3] * a_per_lsb};
        double x = u[0], y = u[1], z = u[2], i = u[3], zz = z * z;
        double c1 = p_re * p_re - p_im * p_im, s1 = 2.0 * p_re * p_im;
        double c2 = c1 * c1 - s1 * s1, s2 = 2.0 * c1 * s1;
        double c3 = c2 * c1 - s2 * s1, s3 = c2 * s1 + s2 * c1;
        double c1h = c1 * p_re - s1 * p_im, s1h = c1 * p_im + s1 * p_re;
        double v[SUMS] = {1.0, z, zz, zz * z, zz * zz, x, x * x, y, y * y, i, i * i, 0.0,
                          z * p_re, z * p_im, z * c1, z * s1,
                          z * c1h, z * s1h,
                          z * c2, z * s2, z * c3, z * s3,
                          z * (c2 * c2 - s2 * s2), z * (2.0 * c2 * s2),
                          i * p_re, i * p_im, i * c1, i * s1, i * c1h, i * s1h, i * c2, i * s2};
        double w = 0.5 - 0.5 * w_re;
        for (int j = 0; j < SUMS; j++) b[j] += v[j], a[j] += w * v[j];
        float *block = s->blocks[1][(s->hop_position + k) * BLOCKS / n];
        for (int j = 0; j < 2; j++) {
            block[j] += (float)(v[14 + j] * lsb_per_g);
            block[2 + j] += (float)(v[18 + j] * lsb_per_g);
        }
        z_max = z > z_max ? z : z_max, z_min = z < z_min ? z : z_min;
        int at_end = 0;
        for (int c = 0; c < 4; c++) {
            int one = lsb[k][c];
            at_end |= c < 3 && (one >= 32767 || one <= -32767);
            s->run[c] = one == s->last_lsb[c] ? s->run[c] + 1 : 1;
            s->last_lsb[c] = one;
        }
        s->clipped += at_end;
        for (int q = 0; q < SECTIONS; q++)
            for (int c = 0; c < 4; c++) {
                double in = u[c], out = s->wh_b[q][0] * in + st[q][0][c];
                st[q][0][c] = s->wh_b[q][1] * in - s->wh_a[q][0] * out + st[q][1][c];
                st[q][1][c] = s->wh_b[q][2] * in - s->wh_a[q][1] * out;
                u[c] = out;
            }
        for (int c = 0; c < 4; c++) weighted[c] += u[c] * u[c];
        double re = p_re * step_re - p_im * step_im;
        p_im = p_re * step_im + p_im * step_re, p_re = re;
        re = w_re * turn_re - w_im * turn_im;
        w_im = w_re * turn_im + w_im * turn_re, w_re = re;
    }
    for (int j = 0; j < SUMS; j++) s->b[j] = b[j], s->a[j] = a[j];
    for (int c = 0; c < 3; c++) {
        s->wh_sum[c] = weighted[c];
        for (int q = 0; q < SECTIONS; q++)
            for (int d = 0; d < 2; d++) s->wh_state[c][q][d] = st[q][d][c];
    }
    s->hop_position += count;
    s->phase_re = p_re, s->phase_im = p_im, s->window_re = w_re, s->window_im = w_im;
    s->z_max = z_max, s->z_min = z_min;
}

static void fill(const Signal *s, const double *sums, Hop *row) {
    double w = fmax(sums[0], 1e-9), mz = sums[1] / w, mi = sums[9] / w;
    double m2 = fmax(sums[2] / w - mz * mz, 0.0), floor_ = fmax(m2, 1e-8);
    double m4 = sums[4] / w - 4.0 * mz * sums[3] / w + 6.0 * mz * mz * sums[2] / w -
                3.0 * mz * mz * mz * mz;
    row->mean[0] = sums[5] / w, row->mean[1] = sums[7] / w, row->mean[2] = mz, row->mean[3] = mi;
    row->sd[0] = sqrt(fmax(sums[6] / w - row->mean[0] * row->mean[0], 0.0));
    row->sd[1] = sqrt(fmax(sums[8] / w - row->mean[1] * row->mean[1], 0.0));
    row->sd[2] = sqrt(m2), row->sd[3] = sqrt(fmax(sums[10] / w - mi * mi, 0.0));
    row->z_kurtosis = m4 / (floor_ * floor_);
    for (int h = 0; h < ORDERS; h++)
        row->z_order[h] = (sums[12 + 2 * h] + I * sums[13 + 2 * h]) * 2.0 / w;
    for (int h = 0; h < 4; h++) row->i_order[h] = (sums[24 + 2 * h] + I * sums[25 + 2 * h]) * 2.0 / w;
    double up = s->z_max, down = s->z_min, seen = fmax(s->b[0], 1.0);
    if (s->has_previous) up = fmax(up, s->previous_z_max), down = fmin(down, s->previous_z_min);
    row->z_peak_up = fmax(up - mz, 0.0), row->z_peak_down = fmax(mz - down, 0.0);
    for (int c = 0; c < 3; c++) row->a_hw[c] = sqrt(s->wh_sum[c] / seen) * 9.80665;
    row->clipped = s->clipped / seen, row->stuck = 0;
    for (int c = 0; c < 4; c++)
        if (s->run[c] >= seen && seen >= 0.5 * s->hop_samples) row->stuck |= 1 << c;
}

/* pipeline.tracking.track of a gun whose frequency is known and whose phase is heard */
static void track(Signal *s, Hop *row) {
    double now = s->f_hz, hop_s = s->hop_samples / s->rate_hz;
    double lean = 2.0 * M_PI * (0.25 - 1.0 / (M_PI * M_PI)) * hop_s * (s->last_f_hz - now);
    double complex upright = cos(lean) - I * sin(lean);
    double complex z1 = row->z_order[1] * upright, i1 = row->i_order[1] * upright;
    double power = 0.0, f = now;
    for (int h = 0; h < ORDERS; h++) {
        double re = creal(row->z_order[h]), im = cimag(row->z_order[h]);
        power += 0.5 * (re * re + im * im);
    }
    double share = power / fmax(row->sd[2] * row->sd[2], 1e-8);
    if (s->settled >= 3) {
        double wz = 1.0 / fmax(row->sd[2] * row->sd[2], 1e-6);
        double wi = 1.0 / fmax(row->sd[3] * row->sd[3], 1e-6);
        double complex turned = wz * z1 * (s->last_z1[0] - I * s->last_z1[1]) +
                                wi * i1 * (s->last_i1[0] - I * s->last_i1[1]);
        f = s->last_f_hz + atan2(cimag(turned), creal(turned)) / (2.0 * M_PI * hop_s);
    }
    f = fmin(fmax(f, 0.75 * s->set_hz), 1.25 * s->set_hz);
    s->settled += 1;
    if (s->settled >= 4 && share > 0.8) s->ratio = f / s->set_hz;
    row->f_hz = f, s->last_f_hz = now, s->f_hz = f;
    s->last_z1[0] = creal(z1), s->last_z1[1] = cimag(z1);
    s->last_i1[0] = creal(i1), s->last_i1[1] = cimag(i1);
}

static void close_hop(Signal *s, int slot, int frame, Hop *row) {
    double sums[SUMS];
    for (int j = 0; j < SUMS; j++)
        sums[j] = s->has_previous ? s->previous_a[j] + s->b[j] - s->a[j] : s->b[j];
    row->slot = slot, row->frame = frame, row->t_ns = now_ns(s);
    row->rate_hz = s->rate_hz, row->set_hz = s->set_hz, row->f_hz = s->f_hz;
    row->present = (s->has_previous ? 1.0 : 0.5) * sums[0] / s->hop_samples;
    row->settled = s->settled, row->flags = s->flags;
    fill(s, sums, row);
    if (s->set_hz > 0.0) track(s, row);
    for (int j = 0; j < SUMS; j++) s->previous_a[j] = s->a[j];
    s->has_previous = 1;
    s->previous_z_max = s->z_max, s->previous_z_min = s->z_min;
    start_hop(s);
}

int64_t advance(Signal *state, const Frame *frames, int64_t count, const int16_t (*samples)[4],
                Hop *out) {
    int64_t written = 0;
    for (int64_t j = 0; j < count; j++) {
        const Frame *frame = frames + j;
        Signal *s = state + frame->slot;
        int left = frame->samples;
        while (left > 0) {
            int step = s->hop_samples - s->hop_position;
            if (step > left) step = left;
            accumulate(s, samples, step, frame->g_per_lsb, frame->a_per_lsb);
            s->anchor_samples += step;
            s->flags |= frame->flags;
            samples += step, left -= step;
            if (s->hop_position == s->hop_samples) close_hop(s, frame->slot, j, out + written++);
        }
    }
    return written;
}
