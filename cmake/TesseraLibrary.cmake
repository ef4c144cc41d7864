# The library targets.

find_package(Threads REQUIRED)

# libatomic_ops serves as headers only: nothing of it is linked.
pkg_check_modules(ATOMIC_OPS REQUIRED atomic_ops)

file(GLOB TESSERA_SOURCES CONFIGURE_DEPENDS
     core/*/*.c plans/*.c barriers/*.c api/src/*.c)
file(GLOB TESSERA_HEADERS CONFIGURE_DEPENDS
     core/*/*.h plans/*.h barriers/*.h api/src/*.h)
file(GLOB TESSERA_PUBLIC_HEADERS CONFIGURE_DEPENDS api/include/tessera/*.h)

# What every program that includes the headers has to know. The offset is only mentioned where it
# is not the headers' own default.
function(tessera_usage target)
  target_include_directories(${target} INTERFACE
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/api/include>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  if(NOT TESSERA_GC_BYTE_OFFSET EQUAL 0)
    target_compile_definitions(${target} INTERFACE TSR_GC_BYTE_OFFSET=${TESSERA_GC_BYTE_OFFSET})
  endif()
  target_link_libraries(${target} PRIVATE Threads::Threads)
endfunction()

include(CheckCCompilerFlag)
check_c_compiler_flag(-fno-plt TESSERA_HAS_NO_PLT)

# How the library's own sources are compiled.
# -fno-plt: what they call of other libraries is bound when the program is loaded. Bound at the first call it would cost the
# caller's stack several KiB, and a mutator may have but 4 KiB left.
function(tessera_compilation target)
  target_include_directories(${target} PRIVATE
    "${PROJECT_SOURCE_DIR}" "${PROJECT_SOURCE_DIR}/api/include")
  target_include_directories(${target} SYSTEM PRIVATE ${ATOMIC_OPS_INCLUDE_DIRS})
  target_compile_options(${target} PRIVATE
    -fvisibility=hidden -Wstrict-prototypes -Wmissing-prototypes
    $<$<BOOL:${TESSERA_HAS_NO_PLT}>:-fno-plt>)
  target_compile_definitions(${target} PRIVATE
    TSR_GC_BYTE_OFFSET=${TESSERA_GC_BYTE_OFFSET} $<$<BOOL:${TESSERA_CHECKS}>:TSR_CHECKS=1>)
endfunction()

# An instrumented build, which is slow to compile, makes both libraries of the same objects.
set(TESSERA_INSTRUMENTED FALSE)
set(position_independent -fPIE)
if(TESSERA_SANITIZE OR TESSERA_COVERAGE)
  set(TESSERA_INSTRUMENTED TRUE)
  set(position_independent -fPIC)
endif()

# Objects of the static library. -fPIE: they fit into every executable, position independent or not.
# tests/unit links them as they are, with all their names and headers.
add_library(tessera_objects OBJECT ${TESSERA_SOURCES} ${TESSERA_HEADERS} ${TESSERA_PUBLIC_HEADERS})
tessera_compilation(tessera_objects)
target_compile_options(tessera_objects PRIVATE ${position_independent})
tessera_usage(tessera_objects)
target_include_directories(tessera_objects INTERFACE "${PROJECT_SOURCE_DIR}")
target_include_directories(tessera_objects SYSTEM INTERFACE ${ATOMIC_OPS_INCLUDE_DIRS})
target_compile_definitions(tessera_objects INTERFACE $<$<BOOL:${TESSERA_CHECKS}>:TSR_CHECKS=1>)

# The same with fault injection, for the unit tests that make each operation of the system fail in turn. What doesn't
# ask whether it is to fail is taken as it is.
set(asking "")
foreach(source ${TESSERA_SOURCES})
  file(STRINGS "${source}" asks REGEX "^#include \"core/os/fault\\.h\"")
  if(asks)
    list(APPEND asking "${source}")
  endif()
endforeach()
add_library(tessera_objects_asking OBJECT EXCLUDE_FROM_ALL ${asking})
tessera_compilation(tessera_objects_asking)
target_compile_options(tessera_objects_asking PRIVATE -fPIE)
tessera_usage(tessera_objects_asking)
target_compile_definitions(tessera_objects_asking PRIVATE TSR_FAULT_INJECTION=1)

list(TRANSFORM asking REPLACE "^${PROJECT_SOURCE_DIR}/(.*)\\.c$" "/\\1[.]c[.]o" OUTPUT_VARIABLE unasked)
list(JOIN unasked "|" unasked)
add_library(tessera_objects_faults INTERFACE)
target_sources(tessera_objects_faults INTERFACE $<TARGET_OBJECTS:tessera_objects_asking>
  "$<FILTER:$<TARGET_OBJECTS:tessera_objects>,EXCLUDE,${unasked}>")
target_link_libraries(tessera_objects_faults INTERFACE Threads::Threads)
target_include_directories(tessera_objects_faults INTERFACE
  "${PROJECT_SOURCE_DIR}" "${PROJECT_SOURCE_DIR}/api/include")
target_include_directories(tessera_objects_faults SYSTEM INTERFACE ${ATOMIC_OPS_INCLUDE_DIRS})
target_compile_definitions(tessera_objects_faults INTERFACE
  TSR_FAULT_INJECTION=1 $<$<BOOL:${TESSERA_CHECKS}>:TSR_CHECKS=1>)

# Names that are hidden in the shared library would still be global in an archive of plain objects,
# and an archive's `copy_space_alloc` could meet a program's. So all objects are linked into one, and
# the hidden names are made local in it. Instrumented builds keep the plain objects: their runtimes
# find things by names and groups that this step would change.
if(CMAKE_OBJCOPY AND NOT APPLE AND NOT TESSERA_INSTRUMENTED)
  set(TESSERA_NAMES_LOCAL TRUE)
  set(one_object "${CMAKE_CURRENT_BINARY_DIR}/tessera_static.o")
  add_custom_command(
    OUTPUT "${one_object}"
    COMMAND ${CMAKE_C_COMPILER} -r -nostdlib -o "${one_object}" $<TARGET_OBJECTS:tessera_objects>
    COMMAND ${CMAKE_OBJCOPY} --localize-hidden "${one_object}"
    DEPENDS tessera_objects $<TARGET_OBJECTS:tessera_objects>
    COMMENT "Linking the static library's one object"
    COMMAND_EXPAND_LISTS VERBATIM)
  set_source_files_properties("${one_object}" PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
  add_library(tessera_static STATIC "${one_object}")
else()
  set(TESSERA_NAMES_LOCAL FALSE)
  add_library(tessera_static STATIC $<TARGET_OBJECTS:tessera_objects>)
endif()
tessera_usage(tessera_static)
set_target_properties(tessera_static PROPERTIES OUTPUT_NAME tessera LINKER_LANGUAGE C)

if(TESSERA_INSTRUMENTED)
  add_library(tessera_shared SHARED $<TARGET_OBJECTS:tessera_objects>)
else()
  add_library(tessera_shared SHARED ${TESSERA_SOURCES})
  tessera_compilation(tessera_shared)
endif()
tessera_usage(tessera_shared)
set_target_properties(tessera_shared PROPERTIES
  OUTPUT_NAME tessera EXPORT_NAME tessera LINKER_LANGUAGE C
  VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
if(NOT APPLE AND NOT TESSERA_SANITIZE)
  target_link_options(tessera_shared PRIVATE LINKER:--no-undefined)
endif()

add_library(tessera ALIAS tessera_static)
add_library(Tessera::tessera ALIAS tessera_static)
add_library(Tessera::tessera_static ALIAS tessera_static)

# The one-file build: two generated files that a project may copy instead of a library.
set(onefile_dir "${CMAKE_CURRENT_BINARY_DIR}/onefile")
add_custom_command(
  OUTPUT "${onefile_dir}/tessera.c" "${onefile_dir}/tessera.h"
  COMMAND "${PROJECT_SOURCE_DIR}/scripts/amalgamate" "${onefile_dir}"
  DEPENDS "${PROJECT_SOURCE_DIR}/scripts/amalgamate"
          ${TESSERA_SOURCES} ${TESSERA_HEADERS} ${TESSERA_PUBLIC_HEADERS}
  COMMENT "Generating tessera.c and tessera.h"
  VERBATIM)
add_library(tessera_onefile STATIC EXCLUDE_FROM_ALL "${onefile_dir}/tessera.c")
target_include_directories(tessera_onefile PUBLIC "${onefile_dir}")
target_include_directories(tessera_onefile SYSTEM PRIVATE ${ATOMIC_OPS_INCLUDE_DIRS})
target_compile_options(tessera_onefile PRIVATE -fvisibility=hidden
  $<$<BOOL:${TESSERA_HAS_NO_PLT}>:-fno-plt>)
target_compile_definitions(tessera_onefile PUBLIC TSR_GC_BYTE_OFFSET=${TESSERA_GC_BYTE_OFFSET}
  PRIVATE $<$<BOOL:${TESSERA_CHECKS}>:TSR_CHECKS=1>)
target_link_libraries(tessera_onefile PUBLIC Threads::Threads)
