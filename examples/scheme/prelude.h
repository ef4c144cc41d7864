/* prelude.h: the text of prelude.scm, turned into C by embed.cmake when Scheme is built. */
#ifndef SCHEME_PRELUDE_H
#define SCHEME_PRELUDE_H

#include <stddef.h>

extern const unsigned char prelude_text[];
extern const size_t prelude_length;

#endif
