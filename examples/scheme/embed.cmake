# Writes INPUT as a C array to OUTPUT. Run with cmake -P.
file(READ "${INPUT}" hex HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
string(REGEX REPLACE "(0x0a,)" "\\1\n" bytes "${bytes}")
file(WRITE "${OUTPUT}" "#include \"prelude.h\"\n
const unsigned char prelude_text[] = {
${bytes}};
const size_t prelude_length = sizeof prelude_text;\n")
