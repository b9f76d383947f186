"""C written by hand: its text becomes a function that Python calls, with buffers that are ready.

Knows the C compiler and ctypes; nothing of who else takes part.
"""

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from fgrad import nn
from tests.benchmarks.work import Run

FLAGS = ("-O3", "-march=native", "-fPIC", "-shared")


def compiler() -> str:
    """The C compiler; where there is none, it is missing like a module."""
    found = shutil.which("cc")
    if found is None:
        raise ModuleNotFoundError("no C compiler", name="cc")
    return found


def compiled(text: str) -> Callable[..., None]:
    """The function `step` of a C program."""
    command = compiler()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        source, library = Path(folder, "step.c"), Path(folder, "step.so")
        source.write_text(text)
        subprocess.run([command, *FLAGS, str(source), "-o", str(library), "-lm"], check=True)
        step: Any = ctypes.CDLL(str(library)).step  # which stays loaded, though the file goes
    step.restype = None
    return cast("Callable[..., None]", step)


def run(text: str, given: Sequence[nn.Floats], results: int) -> Run:
    """A call of `step` with pointers to what is given and to its results, which are the numbers to compare."""
    step, out = compiled(text), np.zeros(results)
    # Such pointers keep their arrays alive.
    pointers = [x.ctypes.data_as(ctypes.c_void_p) for x in (*map(np.ascontiguousarray, given), out)]
    return Run(lambda: step(*pointers), lambda _: out.tolist())


MOONS = """
/* A network 2-16-16-1 with relu; the loss of a support vector machine on 100 points, with weight decay.
   Parameters stand neuron by neuron, weights before the bias. Results: the loss, and its gradient. */
enum { N = 100, IN = 2, H = 16, P1 = IN + 1, P2 = H + 1, P = H * P1 + H * P2 + P2 };

void step(const double *restrict p, const double *restrict x, const double *restrict y, double *restrict out) {
    const double *w1 = p, *w2 = p + H * P1, *w3 = w2 + H * P2;
    double *g = out + 1, *g1 = g, *g2 = g + H * P1, *g3 = g2 + H * P2, loss = 0, decay = 0;
    for (int k = 0; k < P; k++) {
        decay += p[k] * p[k];
        g[k] = 2e-4 * p[k];
    }
    for (int e = 0; e < N; e++) {
        const double *in = x + IN * e;
        double a1[H], a2[H], d1[H] = {0}, d2[H], score = w3[H];
        for (int j = 0; j < H; j++) {
            double z = w1[P1 * j + IN];
            for (int i = 0; i < IN; i++) z += w1[P1 * j + i] * in[i];
            a1[j] = z > 0 ? z : 0;
        }
        for (int j = 0; j < H; j++) {
            double z = w2[P2 * j + H];
            for (int i = 0; i < H; i++) z += w2[P2 * j + i] * a1[i];
            a2[j] = z > 0 ? z : 0;
        }
        for (int i = 0; i < H; i++) score += w3[i] * a2[i];
        double margin = 1 - y[e] * score, d = margin > 0 ? -y[e] / N : 0;
        loss += margin > 0 ? margin : 0;
        for (int i = 0; i < H; i++) g3[i] += d * a2[i];
        g3[H] += d;
        for (int j = 0; j < H; j++) d2[j] = a2[j] > 0 ? d * w3[j] : 0;
        for (int j = 0; j < H; j++) {
            for (int i = 0; i < H; i++) g2[P2 * j + i] += d2[j] * a1[i];
            g2[P2 * j + H] += d2[j];
            for (int i = 0; i < H; i++) d1[i] += d2[j] * w2[P2 * j + i];
        }
        for (int j = 0; j < H; j++) {
            double t = a1[j] > 0 ? d1[j] : 0;
            for (int i = 0; i < IN; i++) g1[P1 * j + i] += t * in[i];
            g1[P1 * j + IN] += t;
        }
    }
    out[0] = loss / N + 1e-4 * decay;
}
"""

MOONS_VECTORS = """
/* The same, eight points at a time. The coordinates of 104 points stand one after the other, first all x, then all y;
   a point whose label is 0 counts nothing. */
enum { N = 100, LANES = 8, BLOCKS = 13, IN = 2, H = 16, P1 = IN + 1, P2 = H + 1, P = H * P1 + H * P2 + P2 };
typedef double v8 __attribute__((vector_size(64)));
typedef double given __attribute__((vector_size(64), aligned(8))); /* wherever it lies */
typedef long long m8 __attribute__((vector_size(64)));

static inline v8 where(m8 condition, v8 x) { return (v8)(condition & (m8)x); }

static double across(v8 x) {
    double total = 0;
    for (int k = 0; k < LANES; k++) total += x[k];
    return total;
}

void step(const double *restrict p, const given *restrict x, const given *restrict y, double *restrict out) {
    const double *w1 = p, *w2 = p + H * P1, *w3 = w2 + H * P2;
    v8 g[P] = {0}, *g1 = g, *g2 = g + H * P1, *g3 = g2 + H * P2, loss = {0};
    double decay = 0;
    for (int e = 0; e < BLOCKS; e++) {
        v8 a1[H], a2[H], d1[H] = {0}, in[IN] = {x[e], x[BLOCKS + e]}, score = w3[H] + (v8){0};
        for (int j = 0; j < H; j++) {
            v8 z = w1[P1 * j + IN] + w1[P1 * j] * in[0] + w1[P1 * j + 1] * in[1];
            a1[j] = where(z > 0, z);
        }
        for (int j = 0; j < H; j++) {
            v8 z = w2[P2 * j + H] + (v8){0}, even = z, odd = {0}; /* two sums, so that one need not wait */
            for (int i = 0; i < H; i += 2) {
                even += w2[P2 * j + i] * a1[i];
                odd += w2[P2 * j + i + 1] * a1[i + 1];
            }
            z = even + odd;
            a2[j] = where(z > 0, z);
        }
        for (int i = 0; i < H; i++) score += w3[i] * a2[i];
        v8 margin = y[e] * y[e] - y[e] * score, d = where(margin > 0, -y[e] * (1.0 / N));
        loss += where(margin > 0, margin);
        g3[H] += d;
        for (int j = 0; j < H; j++) {
            v8 d2 = where(a2[j] > 0, d * w3[j]);
            g3[j] += d * a2[j];
            g2[P2 * j + H] += d2;
            for (int i = 0; i < H; i++) g2[P2 * j + i] += d2 * a1[i];
            for (int i = 0; i < H; i++) d1[i] += d2 * w2[P2 * j + i];
        }
        for (int j = 0; j < H; j++) {
            v8 t = where(a1[j] > 0, d1[j]);
            g1[P1 * j] += t * in[0];
            g1[P1 * j + 1] += t * in[1];
            g1[P1 * j + 2] += t;
        }
    }
    for (int k = 0; k < P; k++) {
        decay += p[k] * p[k];
        out[1 + k] = across(g[k]) + 2e-4 * p[k];
    }
    out[0] = across(loss) / N + 1e-4 * decay;
}
"""

LSTM = """
/* Steps of an LSTM; the loss is the mean over the steps of the squared distance between h and a target.
   Gates stand as input, forget, candidate, output. Results: the loss, and its gradient by w and b. */
#include <math.h>
#include <string.h>
enum { T = %(steps)d, IN = %(inputs)d, H = %(units)d, G = 4 * H, M = IN + H };

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

void step(const double *restrict w, const double *restrict b, const double *restrict xs, const double *restrict ys,
          double *restrict out) {
    static double in[T][M], gates[T][G], cells[T + 1][H], tanhs[T][H], h[H], wt[G][M];
    double *gw = out + 1, *gb = gw + M * G, loss = 0, dh[H] = {0}, dc[H] = {0};
    memset(out, 0, (1 + M * G + G) * sizeof *out);
    memset(h, 0, sizeof h);
    for (int k = 0; k < M; k++)
        for (int j = 0; j < G; j++) wt[j][k] = w[k * G + j];
    for (int t = 0; t < T; t++) {
        double z[G];
        memcpy(in[t], xs + IN * t, IN * sizeof *xs);
        memcpy(in[t] + IN, h, sizeof h);
        memcpy(z, b, sizeof z);
        for (int k = 0; k < M; k++)
            for (int j = 0; j < G; j++) z[j] += in[t][k] * w[k * G + j];
        for (int j = 0; j < G; j++) gates[t][j] = j / H == 2 ? tanh(z[j]) : sigmoid(z[j]);
        for (int j = 0; j < H; j++) {
            double *g = gates[t] + j, c = cells[t + 1][j] = g[H] * cells[t][j] + g[0] * g[2 * H];
            tanhs[t][j] = tanh(c);
            h[j] = g[3 * H] * tanhs[t][j];
            loss += (h[j] - ys[H * t + j]) * (h[j] - ys[H * t + j]);
        }
    }
    for (int t = T - 1; t >= 0; t--) {
        double dz[G], din[M] = {0};
        for (int j = 0; j < H; j++) {
            double *g = gates[t] + j, i = g[0], f = g[H], u = g[2 * H], o = g[3 * H], s = tanhs[t][j];
            double d = dh[j] + 2.0 / T * (o * s - ys[H * t + j]), c = dc[j] + d * o * (1 - s * s);
            dz[j] = c * u * i * (1 - i);
            dz[H + j] = c * cells[t][j] * f * (1 - f);
            dz[2 * H + j] = c * i * (1 - u * u);
            dz[3 * H + j] = d * s * o * (1 - o);
            dc[j] = c * f;
        }
        for (int j = 0; j < G; j++) gb[j] += dz[j];
        for (int k = 0; k < M; k++)
            for (int j = 0; j < G; j++) gw[k * G + j] += in[t][k] * dz[j];
        for (int j = 0; j < G; j++)
            for (int k = 0; k < M; k++) din[k] += dz[j] * wt[j][k];
        memcpy(dh, din + IN, sizeof dh);
    }
    out[0] = loss / T;
}
"""
