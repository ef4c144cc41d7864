# The API reference: cmake --build BUILD --target docs

set(TESSERA_DOCS_DIR "${CMAKE_CURRENT_BINARY_DIR}/docs")
configure_file(docs/Doxyfile.in "${CMAKE_CURRENT_BINARY_DIR}/Doxyfile" @ONLY)
add_custom_target(docs
  COMMAND ${CMAKE_COMMAND} -E make_directory "${TESSERA_DOCS_DIR}"
  COMMAND doxygen "${CMAKE_CURRENT_BINARY_DIR}/Doxyfile"
  WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}"
  VERBATIM)
