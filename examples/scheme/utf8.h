/*
 * utf8.h: between UTF-8, which sources and terminals use, and the code points of strings.
 *
 * Malformed input is never an error: each byte that begins no well-formed sequence reads as U+FFFD.
 */
#ifndef SCHEME_UTF8_H
#define SCHEME_UTF8_H

#include <stddef.h>
#include <stdint.h>

enum { UTF8_MAX_BYTES = 4 };

/** The code point at *at, which moves on. */
static inline uint32_t utf8_next(const char *text, size_t bytes, size_t *at) {
  static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
  unsigned char lead = (unsigned char)text[(*at)++];
  if (lead < 0x80) return lead;
  size_t more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
  if (lead < 0xc0 || lead > 0xf7 || bytes - *at < more) return 0xfffd;
  uint32_t point = lead & (0x3fu >> more);
  for (size_t i = 0; i < more; i++) {
    unsigned char next = (unsigned char)text[*at + i];
    if ((next & 0xc0) != 0x80) return 0xfffd;
    point = point << 6 | (next & 0x3fu);
  }
  if (point < least[more] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) return 0xfffd;
  *at += more;
  return point;
}

static inline size_t utf8_count(const char *text, size_t bytes) {
  size_t count = 0;
  for (size_t at = 0; at < bytes; count++)
    (void)utf8_next(text, bytes, &at);
  return count;
}

/** Writes one code point and returns how many bytes it took. */
static inline size_t utf8_put(char *to, uint32_t point) {
  if (point < 0x80) {
    to[0] = (char)point;
    return 1;
  }
  if (point < 0x800) {
    to[0] = (char)(0xc0 | point >> 6);
    to[1] = (char)(0x80 | (point & 0x3f));
    return 2;
  }
  if (point < 0x10000) {
    to[0] = (char)(0xe0 | point >> 12);
    to[1] = (char)(0x80 | (point >> 6 & 0x3f));
    to[2] = (char)(0x80 | (point & 0x3f));
    return 3;
  }
  to[0] = (char)(0xf0 | point >> 18);
  to[1] = (char)(0x80 | (point >> 12 & 0x3f));
  to[2] = (char)(0x80 | (point >> 6 & 0x3f));
  to[3] = (char)(0x80 | (point & 0x3f));
  return 4;
}

#endif
