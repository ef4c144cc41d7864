/*
 * value.h: what a Scheme value looks like in a 64-bit word and in the heap.
 *
 * The low three bits of a word say what it is:
 *
 *   000  fixnum, 61 bits, two's complement, shifted left by three
 *   001  reference: address of a heap object, plus one
 *   010  immediate: bits 3-7 say which sort, bits 8 and up hold it
 *
 * so that two fixnums can be added as they are, and so that the heap's reference rule is "low tag
 * 1".
 *
 * A heap object begins with a header word. Byte 0 belongs to Tessera. Bits 32-47 hold the type,
 * which is also the number of the type's layout: what the collector needs to trace an object and
 * what the interpreter needs to check it are the same 16 bits. Bits 48-63 hold a small count for
 * the types that have one.
 */
#ifndef SCHEME_VALUE_H
#define SCHEME_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <tessera/tessera.h>

typedef uint64_t value;

enum { TAG_MASK = 7, TAG_FIXNUM = 0, TAG_REFERENCE = 1, TAG_IMMEDIATE = 2 };

/* ---- fixnums ---- */

#define FIXNUM_MAX (((int64_t)1 << 60) - 1)
#define FIXNUM_MIN (-((int64_t)1 << 60))

static inline bool is_fixnum(value v) {
  return (v & TAG_MASK) == TAG_FIXNUM;
}
static inline bool both_fixnums(value a, value b) {
  return ((a | b) & TAG_MASK) == TAG_FIXNUM;
}
static inline bool fits_fixnum(int64_t n) {
  return n >= FIXNUM_MIN && n <= FIXNUM_MAX;
}
static inline value fixnum(int64_t n) {
  return (uint64_t)n << 3;
}
static inline int64_t fixnum_value(value v) {
  return (int64_t)v >> 3;
}

/* ---- immediates ---- */

enum { SORT_CONSTANT = 0, SORT_CHARACTER = 1 };

#define IMMEDIATE(sort, payload)                                                                   \
  (((uint64_t)(payload) << 8) | ((uint64_t)(sort) << 3) | TAG_IMMEDIATE)

#define SCHEME_FALSE       IMMEDIATE(SORT_CONSTANT, 0)
#define SCHEME_TRUE        IMMEDIATE(SORT_CONSTANT, 1)
#define SCHEME_NIL         IMMEDIATE(SORT_CONSTANT, 2)
#define SCHEME_EOF         IMMEDIATE(SORT_CONSTANT, 3)
#define SCHEME_UNSPECIFIED IMMEDIATE(SORT_CONSTANT, 4)
/** In a variable that has no value yet. */
#define SCHEME_UNBOUND     IMMEDIATE(SORT_CONSTANT, 5)

static inline value boolean(bool b) {
  return b ? SCHEME_TRUE : SCHEME_FALSE;
}
static inline bool is_true(value v) {
  return v != SCHEME_FALSE;
}

static inline bool is_character(value v) {
  return (v & 0xff) == IMMEDIATE(SORT_CHARACTER, 0);
}
static inline value character(uint32_t code_point) {
  return IMMEDIATE(SORT_CHARACTER, code_point);
}
static inline uint32_t character_value(value v) {
  return (uint32_t)(v >> 8);
}

struct primitive_info;

/* ---- heap objects ---- */

/** Types of heap objects. The number is the layout's: binding.c lists them in this order. */
enum type {
  TYPE_PAIR = 1,
  TYPE_FLONUM,
  TYPE_STRING,
  TYPE_SYMBOL,
  TYPE_VECTOR,
  TYPE_CLOSURE,
  TYPE_BOX,
  TYPE_CODE,
  TYPE_BYTES,
  TYPE_RECORD_TYPE,
  TYPE_RECORD,
  TYPE_CONTINUATION,
  TYPE_VALUES,
  TYPE_PRIMITIVE,
  TYPE_CONDITION,
  TYPE_EPHEMERON,
  TYPE_LAST = TYPE_EPHEMERON
};

#define HEADER(type, count) (TSR_HEADER(type) | ((uint64_t)(count) << 48))
/** Largest count that a header holds. */
#define HEADER_COUNT_MAX    0xffff

struct pair {
  uint64_t header;
  value car, cdr;
};

struct flonum {
  uint64_t header;
  double number;
};

/** Strings are mutable arrays of code points: `string-ref` is one load. */
struct string {
  uint64_t header;
  uint64_t length;
  uint32_t chars[];
};

struct symbol {
  uint64_t header;
  value name;  /**< string, never shown to the program */
  value value; /**< of the global variable of this name */
  uint64_t id; /**< index in the symbol table */
};

/** Vectors; TYPE_VALUES, the results of `(values ...)` on their way, has the same shape. */
struct vector {
  uint64_t header;
  uint64_t length;
  value items[];
};

/** The header counts the captured values. */
struct closure {
  uint64_t header;
  value code;
  value captured[];
};

/** Holds a local variable that is assigned: closures, and copies of the stack, share it. */
struct box {
  uint64_t header;
  value content;
};

/** One instruction: what to do, two small operands, and one operand that is a Scheme value. */
struct instruction {
  uint16_t op;
  uint16_t b;
  int32_t a;
  value k;
};

/** A compiled lambda. Its instructions are traced as elements of two words, the second a slot. */
struct code {
  uint64_t header;
  uint64_t length; /**< instructions */
  value name;      /**< symbol, or #f */
  value file;      /**< string, for error messages; #f: the library's own code */
  value lines;     /**< bytes: a struct line for every change of line, in order */
  uint32_t arity;  /**< parameters; plus ARITY_REST: and one for the list of all other arguments */
  uint32_t frame_words; /**< stack that one activation needs above its arguments */
  struct instruction instructions[];
};

enum { ARITY_REST = 0x10000 };

struct line {
  uint32_t from; /**< first instruction */
  uint32_t number;
};

struct bytes {
  uint64_t header;
  uint64_t length;
  unsigned char data[];
};

struct record_type {
  uint64_t header;
  value name;   /**< symbol */
  value fields; /**< list of symbols */
};

/** The header counts the fields. */
struct record {
  uint64_t header;
  value type;
  value fields[];
};

/** A copy of the stack, and where to go on. */
struct continuation {
  uint64_t header;
  uint64_t length;
  value pc; /**< as in a frame: see vm.h */
  value fp;
  value slots[];
};

/** A procedure written in C. */
struct primitive {
  uint64_t header;
  const struct primitive_info *info; /**< a row of the tables in builtins.h */
};

/** What `error` and the interpreter raise. */
struct condition {
  uint64_t header;
  value message; /**< usually a string */
  value irritants;
  value file; /**< string or #f */
  value line; /**< fixnum */
};

/** What an ephemeron holds when its key has died: nothing that a program could store. */
#define WEAK_CLEARED SCHEME_UNBOUND

struct ephemeron {
  uint64_t header;
  tsr_ephemeron pair;
};

static inline bool is_reference(value v) {
  return (v & TAG_MASK) == TAG_REFERENCE;
}
static inline void *object_of(value v) {
  return (void *)(uintptr_t)(v - TAG_REFERENCE);
}
static inline value reference_to(const void *object) {
  return (uintptr_t)object + TAG_REFERENCE;
}
static inline tsr_ref ref_of(value v) {
  return (tsr_ref)object_of(v);
}
static inline tsr_slot *slot_of(value *field) {
  return (tsr_slot *)(void *)field;
}

static inline uint64_t header_of(value v) {
  return *(const uint64_t *)object_of(v);
}
static inline enum type type_of(value v) {
  return (enum type)((header_of(v) >> 32) & 0xffff);
}
static inline uint64_t header_count(value v) {
  return header_of(v) >> 48;
}
static inline bool has_type(value v, enum type type) {
  return is_reference(v) && type_of(v) == type;
}

/** Each type's test and its cast, which is only for values that passed the test. */
#define DEFINE_ACCESS(name, struct_name, TYPE)                                                     \
  static inline bool is_##name(value v) {                                                          \
    return has_type(v, TYPE);                                                                      \
  }                                                                                                \
  static inline struct struct_name *name##_of(value v) {                                           \
    return object_of(v);                                                                           \
  }

DEFINE_ACCESS(pair, pair, TYPE_PAIR)
DEFINE_ACCESS(flonum, flonum, TYPE_FLONUM)
DEFINE_ACCESS(string, string, TYPE_STRING)
DEFINE_ACCESS(symbol, symbol, TYPE_SYMBOL)
DEFINE_ACCESS(vector, vector, TYPE_VECTOR)
DEFINE_ACCESS(closure, closure, TYPE_CLOSURE)
DEFINE_ACCESS(box, box, TYPE_BOX)
DEFINE_ACCESS(code, code, TYPE_CODE)
DEFINE_ACCESS(bytes, bytes, TYPE_BYTES)
DEFINE_ACCESS(record_type, record_type, TYPE_RECORD_TYPE)
DEFINE_ACCESS(record, record, TYPE_RECORD)
DEFINE_ACCESS(continuation, continuation, TYPE_CONTINUATION)
DEFINE_ACCESS(values, vector, TYPE_VALUES)
DEFINE_ACCESS(primitive, primitive, TYPE_PRIMITIVE)
DEFINE_ACCESS(condition, condition, TYPE_CONDITION)
DEFINE_ACCESS(ephemeron, ephemeron, TYPE_EPHEMERON)

#undef DEFINE_ACCESS

static inline bool is_procedure(value v) {
  return is_closure(v) || is_primitive(v) || is_continuation(v);
}
static inline bool is_number(value v) {
  return is_fixnum(v) || is_flonum(v);
}
/** Slots that the arguments take in a frame of this code. */
static inline uint32_t frame_arguments(const struct code *code) {
  return (code->arity & 0xffff) + (code->arity >> 16);
}
static inline value car(value v) {
  return pair_of(v)->car;
}
static inline value cdr(value v) {
  return pair_of(v)->cdr;
}

#endif
