# Install tree: bin, lib, include/consilium, share/consilium/studies, share/man, package config.
include(CMakePackageConfigHelpers)
set(consilium_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/consilium)
install(TARGETS consilium_kernels consilium_engine consilium_datasets consilium_mpi
        EXPORT consilium_targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS consilium RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
foreach(layer kernels engine datasets mpi)
  install(DIRECTORY ${CMAKE_SOURCE_DIR}/${layer}/include/consilium
          DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
endforeach()
install(DIRECTORY ${CMAKE_SOURCE_DIR}/datasets/studies DESTINATION ${CMAKE_INSTALL_DATADIR}/consilium)
install(EXPORT consilium_targets NAMESPACE consilium:: DESTINATION ${consilium_cmake_dir})
configure_package_config_file(${CMAKE_SOURCE_DIR}/kernels/cmake/consiliumConfig.cmake.in
  ${CMAKE_BINARY_DIR}/consiliumConfig.cmake INSTALL_DESTINATION ${consilium_cmake_dir})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/consiliumConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/consiliumConfig.cmake
              ${CMAKE_BINARY_DIR}/consiliumConfigVersion.cmake DESTINATION ${consilium_cmake_dir})
# pkg-config: the engine and its kernels, for programs that bring their own files and communication.
set(CONSILIUM_PC_LIBS "${DNNL_LIBRARY} -fopenmp -lpthread -lm")
if(CONSILIUM_HAVE_CUDA)
  string(APPEND CONSILIUM_PC_LIBS " -L${CUDAToolkit_LIBRARY_DIR} -Wl,-rpath,${CUDAToolkit_LIBRARY_DIR}"
         " -lcudart_static -lstdc++ -lrt -ldl")
endif()
configure_file(${CMAKE_SOURCE_DIR}/kernels/cmake/consilium.pc.in ${CMAKE_BINARY_DIR}/consilium.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/consilium.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES ${CMAKE_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
