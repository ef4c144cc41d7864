# Executables that are defined after this file was included are not position independent.
#
# A VM's fast paths are short because they address the mutator and the VM's own variables directly;
# the disassembly test counts the instructions of such an executable. (The library itself stays
# position independent, so a project that wants PIE loses nothing.)

if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
  add_compile_options(-fno-pie)
  add_link_options(-no-pie)
endif()
