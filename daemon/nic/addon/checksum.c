/*
 * Ones' complement sums, RFC 1071. A sum does not care for word size or byte order as long as it is folded at the end
 * (RFC 1071, 2(B)), so 32-bit words are added in the machine's own order into 64 bits. AVX2 where the CPU has it, NEON on
 * every arm64.
 */
#include "addon.h"
#include "dataplane.h"
#include <string.h>

static uint64_t sum_portable(const uint8_t *bytes, size_t length, uint64_t sum) {
  for (; length >= 16; bytes += 16, length -= 16) {
    uint32_t words[4];
    memcpy(words, bytes, 16);
    sum += (uint64_t)words[0] + words[1] + words[2] + words[3];
  }
  for (; length >= 2; bytes += 2, length -= 2) {
    uint16_t word;
    memcpy(&word, bytes, 2);
    sum += word;
  }
  if (length) {
    uint16_t word = 0;
    memcpy(&word, bytes, 1);
    sum += word;
  }
  return sum;
}

#if defined(__x86_64__)
#include <immintrin.h>
__attribute__((target("avx2"))) static uint64_t sum_avx2(const uint8_t *bytes, size_t length, uint64_t sum) {
  __m256i zero = _mm256_setzero_si256(), a = zero, b = zero;
  for (; length >= 64; bytes += 64, length -= 64) {
    __m256i x = _mm256_loadu_si256((const __m256i *)bytes), y = _mm256_loadu_si256((const __m256i *)(bytes + 32));
    a = _mm256_add_epi64(a, _mm256_add_epi64(_mm256_unpacklo_epi32(x, zero), _mm256_unpackhi_epi32(x, zero)));
    b = _mm256_add_epi64(b, _mm256_add_epi64(_mm256_unpacklo_epi32(y, zero), _mm256_unpackhi_epi32(y, zero)));
  }
  uint64_t lanes[4];
  _mm256_storeu_si256((__m256i *)lanes, _mm256_add_epi64(a, b));
  return sum_portable(bytes, length, sum + lanes[0] + lanes[1] + lanes[2] + lanes[3]);
}

static uint64_t sum_vectors(const uint8_t *bytes, size_t length, uint64_t sum) {
  return __builtin_cpu_supports("avx2") ? sum_avx2(bytes, length, sum) : sum_portable(bytes, length, sum);
}
#elif defined(__aarch64__)
#include <arm_neon.h>
static uint64_t sum_vectors(const uint8_t *bytes, size_t length, uint64_t sum) {
  uint64x2_t a = vdupq_n_u64(0), b = a;
  for (; length >= 32; bytes += 32, length -= 32) {
    a = vpadalq_u32(a, vreinterpretq_u32_u8(vld1q_u8(bytes)));
    b = vpadalq_u32(b, vreinterpretq_u32_u8(vld1q_u8(bytes + 16)));
  }
  return sum_portable(bytes, length, sum + vaddvq_u64(a) + vaddvq_u64(b));
}
#else
#define sum_vectors sum_portable
#endif

enum { WORTH_VECTORS = 128 };

uint64_t sum_bytes(const uint8_t *bytes, size_t length, uint64_t sum) {
  return length >= WORTH_VECTORS ? sum_vectors(bytes, length, sum) : sum_portable(bytes, length, sum);
}

/* Folds to 16 bits in network order (as a number whose high byte goes first on the wire). */
uint16_t fold(uint64_t sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return ntohs((uint16_t)sum);
}

uint64_t sum_pseudo(const uint8_t *ip, uint8_t protocol, uint32_t length) {
  bool v6 = ip[0] >> 4 == 6;
  uint64_t sum = v6 ? sum_bytes(ip + 8, 32, 0) : sum_bytes(ip + 12, 8, 0);
  return sum + htonl(length) + htons(protocol);
}

/* checksum(bytes, start, end) -> the folded, uncomplemented sum; for tests of the C code against the TypeScript. */
napi_value checksum_of(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  uint8_t *bytes;
  size_t length;
  int32_t start, end;
  if (!arguments(env, info, 3, argv) || !bytes_argument(env, argv[0], &bytes, &length) ||
      !int_argument(env, argv[1], &start) || !int_argument(env, argv[2], &end))
    return NULL;
  if (start < 0 || end < start || (size_t)end > length) return throw_errno(env, 34, "checksum");
  return int_result(env, fold(sum_bytes(bytes + start, (size_t)(end - start), 0)));
}
