# Installation: headers, both libraries, find_package(Tessera), pkg-config.

if(NOT PROJECT_IS_TOP_LEVEL)
  return()
endif()

include(CMakePackageConfigHelpers)

install(DIRECTORY api/include/tessera DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
        FILES_MATCHING PATTERN "*.h")
install(TARGETS tessera_static tessera_shared EXPORT TesseraTargets
        ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}"
        LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DOCDIR}")

set(config_dir "${CMAKE_INSTALL_LIBDIR}/cmake/Tessera")
install(EXPORT TesseraTargets NAMESPACE Tessera:: DESTINATION "${config_dir}")
configure_package_config_file(cmake/TesseraConfig.cmake.in
  "${CMAKE_CURRENT_BINARY_DIR}/TesseraConfig.cmake" INSTALL_DESTINATION "${config_dir}")
# Before 1.0 a new minor version may change the interface.
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/TesseraConfigVersion.cmake"
  VERSION ${PROJECT_VERSION} COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/TesseraConfig.cmake"
              "${CMAKE_CURRENT_BINARY_DIR}/TesseraConfigVersion.cmake"
        DESTINATION "${config_dir}")

# tessera.pc finds its prefix from where it lies, so an installed tree may be moved.
set(pc_dir "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
file(RELATIVE_PATH pc_to_prefix "${CMAKE_INSTALL_PREFIX}/${pc_dir}" "${CMAKE_INSTALL_PREFIX}")
string(REGEX REPLACE "/$" "" pc_to_prefix "${pc_to_prefix}")
set(pc_offset "")
if(NOT TESSERA_GC_BYTE_OFFSET EQUAL 0)
  set(pc_offset " -DTSR_GC_BYTE_OFFSET=${TESSERA_GC_BYTE_OFFSET}")
endif()
configure_file(cmake/tessera.pc.in "${CMAKE_CURRENT_BINARY_DIR}/tessera.pc" @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/tessera.pc" DESTINATION "${pc_dir}")
