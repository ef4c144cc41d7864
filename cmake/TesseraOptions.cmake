# What a person may choose, and what follows from it for every target of the tree.

set(TESSERA_GC_BYTE_OFFSET 0 CACHE STRING
    "Which byte (0-7) of an object's first word belongs to Tessera; the VM must use the same")
if(NOT TESSERA_GC_BYTE_OFFSET MATCHES "^[0-7]$")
  message(FATAL_ERROR "TESSERA_GC_BYTE_OFFSET is \"${TESSERA_GC_BYTE_OFFSET}\"; it must lie between "
                      "0 and 7: it names a byte of the object's first word")
endif()

option(TESSERA_WERROR "Treat compiler warnings as errors" OFF)
option(TESSERA_CHECKS "Compile the library's internal checks in" OFF)
option(TESSERA_COVERAGE "Count executed lines for gcov" OFF)
set(TESSERA_SANITIZE "" CACHE STRING "Sanitizers, as for -fsanitize= (\"address,undefined\")")
option(TESSERA_EXAMPLES "Build the examples and the benchmark" ${PROJECT_IS_TOP_LEVEL})

# Where nothing is said, tests are built if the framework they need is there. Said explicitly, its
# absence is an error.
find_package(PkgConfig REQUIRED)
pkg_check_modules(CHECK QUIET IMPORTED_TARGET check)
if(PROJECT_IS_TOP_LEVEL AND CHECK_FOUND)
  set(tests_default ON)
else()
  set(tests_default OFF)
endif()
option(TESSERA_TESTS "Build the tests (needs Check, found by pkg-config)" ${tests_default})
if(TESSERA_TESTS AND NOT CHECK_FOUND)
  message(FATAL_ERROR "TESSERA_TESTS is on, and pkg-config doesn't find the test framework Check "
                      "(Debian: apt-get install check libsubunit-dev)")
endif()
if(TESSERA_TESTS AND NOT TESSERA_EXAMPLES)
  message(FATAL_ERROR "TESSERA_TESTS needs TESSERA_EXAMPLES: many tests run the examples")
endif()

if(PROJECT_IS_TOP_LEVEL AND NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Debug, Release, RelWithDebInfo or MinSizeRel" FORCE)
endif()

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ${PROJECT_IS_TOP_LEVEL})

add_compile_options(-Wall -Wextra -Wpedantic -Wshadow -Wconversion)
if(TESSERA_WERROR)
  add_compile_options(-Werror)
endif()

if(TESSERA_SANITIZE)
  add_compile_options(-fsanitize=${TESSERA_SANITIZE} -fno-sanitize-recover=all
                      -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${TESSERA_SANITIZE})
endif()
if(TESSERA_COVERAGE)
  add_compile_options(--coverage)
  add_link_options(--coverage)
endif()
